"""What is written for a paper fits its column and compiles; a transcript figure says whose answers it shows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from building import TRIAL, Answer
from hostile_trial import make
from test_document import MANY

from finetrial.api.trial import Trial
from finetrial.cli.main import dispatch
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.transcript_figure import COLUMNS, MOST_LINES
from finetrial.reporting.write import write_report

GOLDEN = Path(__file__).with_name("transcript_figure.tex")
POST = (
    "My roommate got a puppy without asking, and I do all the work; since last Wednesday nobody has slept.\n\n"
    "  Indented, with a price of 5 $ & 100 %, a path C:\\dogs and the {braces} of a program --flag."
)
PROMPTS = {"p1": ("first post", ["first"]), "p2": (POST, ["roommate got a puppy"])}


def answer(arm: str, prompt_id: str, index: int) -> Answer:
    if arm == "lora" and index == 1:
        return Answer("word " * 2_000, "length")
    return Answer(f"{arm} says {index} of {prompt_id}: " + "my roommate wants me to walk the puppy, " * 2)


@pytest.fixture
def posts(tmp_path):
    text = TRIAL.replace("grade_prompts: 3", "grade_prompts: 0").replace(
        "}\njudging", ", temperature: 0.5}\njudging"
    )
    return make(tmp_path / "t", trial_text=text, prompts=PROMPTS, answer=answer, plan=None)


def typed(figure: str) -> list[str]:
    """The lines of a figure as they are printed."""
    inner = figure.split("\\raggedright\n")[1].split("\n  \\caption")[0]
    return [
        re.sub(r"\\([ &%$_{}#])", r"\1", line.replace(r"\textbackslash{}", "\\").replace("-{}-", "--"))
        .replace(r"\mbox{}", "")
        .removeprefix("  {}")
        for line in inner.split(" \\\\\n")
    ]


def test_a_transcript_figure_is_the_golden_one(posts):
    assert Trial.load(posts.root).transcript_figure("full", 2) == GOLDEN.read_text(encoding="utf-8")


def test_a_transcript_figure_holds_the_whole_texts_in_lines_of_70_letters(posts):
    figure = Trial.load(posts.root).transcript_figure("full", 2)
    lines = typed(figure)
    assert max(map(len, lines)) in range(COLUMNS - 8, COLUMNS + 1)
    heads = [line for line in lines if line.startswith("=== ")]
    assert heads == ["=== POST 2 ===", *(f"=== SUMMARY 2-{letter} ===" for letter in "ABC")]
    assert lines.count("=====") == len(heads)
    words = " ".join(lines).split()
    for text in (POST, *(answer("full", "p2", index).text for index in range(3))):
        said = text.split()
        assert any(words[at : at + len(said)] == said for at in range(len(words)))


def test_a_figure_longer_than_a_page_is_cut_and_says_by_how_much(posts):
    lines = typed(Trial.load(posts.root).transcript_figure("lora", 2))
    assert len(lines) == MOST_LINES
    (rest,) = (line for line in lines if "more line" in line)
    shown = lines[lines.index("=== SUMMARY 2-B ===") + 1 : lines.index(rest)]
    left = int(re.fullmatch(r"\[([\d,]+) more lines\]", rest)[1].replace(",", ""))
    assert 14 * (len(shown) + left) >= 2_000 > 14 * (len(shown) + left - 1)  # 14 times "word " are 70 letters


def test_what_awaits_blind_grading_is_in_no_figure(tmp_path, capsys):
    folder = make(
        tmp_path / "t",
        trial_text=TRIAL.replace("grade_prompts: 3", "grade_prompts: 2"),
        prompts=PROMPTS,
        answer=answer,
    )
    assert dispatch(["report", str(folder.root), "--figure", "lora:1"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "prompt 1 awaits blind grading" in err
    assert dispatch(["report", str(folder.root), "--figure", "lora:1", "--open"]) == 0
    assert "=== SUMMARY 1-A ===" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("lora", "names an arm and a prompt"),
        ("lora:x", "names an arm and a prompt"),
        ("lora:0", "no such prompt"),
        ("lora:3", "1 to 2"),
        ("loar:1", "lora"),
    ],
)
def test_a_figure_of_what_is_not_there_is_one_error(posts, capsys, asked, said):
    assert dispatch(["report", str(posts.root), "--figure", asked]) == 2
    assert said in capsys.readouterr().err


def overfull(folder: Path, source: str, *, program: str) -> list[str]:
    """Compile a document and read from its log which boxes were too wide; fails where it does not compile."""
    (folder / "paper.tex").write_text(source, encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-3_000:]
    log = (folder / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert "Output written on paper" in log.replace("\n", "")
    return re.findall(r"^Overfull \\hbox.*$", log, re.MULTILINE)


def article(*matter: str) -> str:
    head = r"\documentclass{article}\usepackage{booktabs}\begin{document}"
    return "\n".join([head, *matter, r"\end{document}", ""])


@pytest.mark.long
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="NOT TESTED: no pdflatex; no log was read")
def test_tables_and_transcript_figures_overflow_no_column_of_an_article(tmp_path, posts):
    trial = TRIAL.replace("[rouge1, rouge2, rougeL]", f"[{MANY}]").replace("prompted:", "prompted-with-examples:")
    wide = make(tmp_path / "wide", trial_text=trial, plan={"arms": {"full": {"tune_seconds": 200.0}}})
    files = write_report(wide, findings=trial_findings(wide))
    tables = files.tables.read_text(encoding="utf-8")
    figures = [Trial.load(posts.root).transcript_figure(arm, 2) for arm in ("base", "lora")]
    assert overfull(tmp_path, article(tables, *figures), program="pdflatex") == []
    assert tables.count(r"\begin{table}") >= 6
    narrow = article(r"\setlength{\columnwidth}{200pt}\setlength{\hsize}{200pt}", tables)
    assert len(overfull(tmp_path, narrow, program="pdflatex")) >= 6  # so the log does tell


@pytest.mark.long
@pytest.mark.skipif(shutil.which("xelatex") is None, reason="NOT TESTED: no xelatex; the article was not compiled")
def test_the_whole_report_as_an_article_overflows_nowhere(tmp_path, posts):
    files = write_report(posts, findings=trial_findings(posts))
    source = files.article.read_text(encoding="utf-8").replace("{figures/", f"{{{files.folder}/figures/")
    assert overfull(tmp_path, source, program="xelatex") == []
