"""Every file of a report says what the records say, without torch, and twice the same."""

from __future__ import annotations

import json
import math
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from building import TRIAL, Answer
from hostile_trial import PROMPTS, Made, make
from PIL import Image

from finetrial import reporting
from finetrial.errors import UserError
from finetrial.reporting.results import read_results
from finetrial.reporting.write import write_report
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder

ARMS = ("base", "prompted", "full", "lora")


def recomputed_means(folder: TrialFolder) -> dict[tuple[str, str], float]:
    """(metric, arm) -> mean of prompt means, from the lines of scores.jsonl alone."""
    values: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in folder.scores.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        arm, prompt_id, _ = row["sample_id"].split("/")
        values[row["metric"], arm][prompt_id].append(row["value"])
    return {
        key: statistics.fmean(statistics.fmean(row) for row in prompts.values()) for key, prompts in values.items()
    }


def test_results_json_holds_the_means_recomputed_from_the_scores(made: Made):
    expected = recomputed_means(made.folder)
    assert len(expected) == 3 * 4
    metrics = read_results(made.folder)["metrics"]
    found = {(metric, arm): cell["mean"] for metric, row in metrics.items() for arm, cell in row.items()}
    assert found == pytest.approx(expected, abs=1e-12)
    for metric, row in metrics.items():
        best = max(ARMS, key=lambda arm: expected[metric, arm])
        assert [arm for arm, cell in row.items() if cell["best"]] == [best]
        assert row["base"]["to_base"] is None
        for arm in ARMS[1:]:
            assert row[arm]["to_base"] == pytest.approx(expected[metric, arm] - expected[metric, "base"])
        assert {(cell["n_prompts"], cell["n_samples"]) for cell in row.values()} == {(12, 36)}


@pytest.mark.parametrize("name", ["index.html", "report.md", "tables.tex"])
def test_every_form_shows_every_mean(made: Made, name):
    text = (made.folder.report / name).read_text(encoding="utf-8")
    for value in recomputed_means(made.folder).values():
        assert f"{value:.3f}" in text


def test_the_answer_names_the_best_arm_and_every_mean(made: Made):
    means = recomputed_means(made.folder)
    answer = read_results(made.folder)["answer"]
    best = max(ARMS, key=lambda arm: means["rouge1", arm])
    assert answer.startswith(
        f"The arm {best} has the highest mean ROUGE-1, {means['rouge1', best]:.3f} over 12 held-out"
    )
    assert all(f"{means['rouge1', arm]:.3f}" in answer for arm in ARMS)
    assert answer in made.page and answer.count(".") == 5  # one sentence: four numbers and its end


def test_prompt_means_of_the_primary_are_those_of_the_scores(made: Made):
    rows = read_results(made.folder)["prompt_means"]
    assert {arm: set(row) for arm, row in rows.items()} == {arm: set(PROMPTS) for arm in ARMS}
    assert {arm: statistics.fmean(row.values()) for arm, row in rows.items()} == pytest.approx(
        {arm: recomputed_means(made.folder)["rouge1", arm] for arm in ARMS}
    )


def test_hashes_are_those_of_the_files(made: Made):
    hashes = read_results(made.folder)["hashes"]
    assert {"trial.yaml", "scores.jsonl", "samples/base.jsonl", "arms/full/metrics.jsonl"} <= set(hashes)
    files = {name: value for name, value in hashes.items() if name != "manifest.json: steps"}
    assert files == {name: hash_file(made.folder.root / name) for name in files} and len(hashes) == len(files) + 1


def test_findings_are_absent_from_results_where_there_are_none(made: Made):
    assert {"verdict", "pairs", "good", "diagnostics"} & set(read_results(made.folder)) == set()


def test_the_same_records_give_the_same_bytes(made: Made):
    before = {path: hash_file(path) for path in made.files.all}
    assert len(before) == 7 + 4
    write_report(made.folder)
    assert {path: hash_file(path) for path in made.files.all} == before


def test_figures_are_well_formed_and_their_marks_are_the_prompts(made: Made):
    figures = {path.name: path for path in made.files.figures}
    assert sorted(figures) == ["losses.png", "losses.svg", "scores.png", "scores.svg"]
    for name in ("losses.svg", "scores.svg"):
        text = figures[name].read_text(encoding="utf-8")
        assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []
        assert ElementTree.fromstring(text).find("{http://www.w3.org/2000/svg}title").text
    words = figures["scores.svg"].read_text(encoding="utf-8")
    tips = re.findall(r"<title>(\w+), prompt (\d+): ([\d.]+)</title>", words)
    means = read_results(made.folder)["prompt_means"]
    numbers = list(PROMPTS)
    assert len(tips) == 4 * 12
    assert all(float(value) == pytest.approx(means[arm][numbers[int(n) - 1]], abs=5e-4) for arm, n, value in tips)
    with Image.open(figures["scores.png"]) as image:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_markdown_has_the_tables_the_figures_and_closed_fences(made: Made):
    text = made.markdown
    assert "![" in text and "](figures/losses.svg)" in text and "](figures/scores.svg)" in text
    assert text.count("### === PROMPT ") == 9
    fence, opened = None, 0
    for line in text.split("\n"):
        found = re.fullmatch(r"(`{3,})(text)?", line)
        if fence is None and found and found[2]:
            fence, opened = found[1], opened + 1
        elif fence is not None and line == fence:
            fence = None
        elif fence is None:
            assert "evil.example" not in line and "<script" not in line
    assert fence is None and opened > 9 * 13
    rows = re.findall(r"^\| (\w+) \|.*\|$", text, re.MULTILINE)
    # the scores, then the plan of the one arm that has one
    assert [row for row in rows if row in ARMS] == [*ARMS, "full"]


def test_latex_tables_are_balanced_and_escaped(tmp_path):
    trial = TRIAL.replace("trial: tickets", "trial: a_b") + 'report: {title: "100% of $5 & #1_{x}\\\\"}\n'
    files = write_report(make(tmp_path / "t", trial_text=trial))
    text = files.tables.read_text(encoding="utf-8")
    assert r"100\% of \$5 \& \#1\_\{x\}\textbackslash{}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    rows = 0
    for columns, body in re.findall(r"\\begin\{tabular\}\{(l[lr]*)\}\n(.*?)\\end\{tabular\}\n", text, re.DOTALL):
        for row in re.findall(r"^    (\w.*) \\\\$", body, re.MULTILINE):
            assert len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1
            rows += 1
    assert rows >= 2 * 5 and text.count(r"\textbf") == 3
    assert not re.search("[⁰-⁹×−–±]", text)


def test_the_terminal_gives_an_arm_one_line_a_table_within_80_columns_and_holds_the_means(made: Made):
    text = made.files.terminal
    assert max(len(line) for line in text.splitlines()) <= 80
    scores, costs = text.split("\nScores\n")[1].split("\nArms and cost\n")
    means = recomputed_means(made.folder)
    for table in (costs, scores):
        assert [line.split()[0] for line in table.splitlines() if line.split()[:1] and line[0].islower()] == [*ARMS]
    rows = {line.split()[0]: line for line in scores.splitlines() if line.strip()}
    assert all(f"{means[metric, arm]:.3f}" in rows[arm] for metric, arm in means)
    to_base = means["rouge1", "full"] - means["rouge1", "base"]
    assert "*" in rows["full"] and f"+{to_base:.3f}" in rows["full"] and re.search(r"^lora +9\W216 ", costs, re.M)


def test_undefined_scores_are_dashes_and_the_answer_says_why(tmp_path):
    prompts = {name: (source, []) for name, (source, _) in PROMPTS.items()}
    folder = make(tmp_path / "t", prompts=prompts)
    files = write_report(folder)
    results = read_results(folder)
    assert {cell["mean"] for row in results["metrics"].values() for cell in row.values()} == {None}
    assert "no prompt has a reference" in results["answer"]
    assert "no prompt has a reference" in files.html.read_text(encoding="utf-8")
    assert [path.name for path in files.figures] == ["losses.svg", "losses.png"]
    assert "–" in files.terminal.split("Scores")[1]


def test_one_prompt_and_one_arm_make_a_report(tmp_path):
    trial = re.sub(r"arms:\n.*?(?=sampling)", "arms:\n  only: {}\n", TRIAL, flags=re.DOTALL)
    trial = trial.replace("per_prompt: 3", "per_prompt: 1").replace("grade_prompts: 3", "grade_prompts: 0")
    prompts = {"p11-plain": PROMPTS["p11-plain"]}
    folder = make(tmp_path / "t", trial_text=trial, prompts=prompts)
    page = write_report(folder).html.read_text(encoding="utf-8")
    assert "over 1 held-out prompt; there is no other arm to compare with" in page
    assert "best</span>" not in page and "<title>only, prompt 1: " in page


def test_arms_that_tie_share_the_best_place_and_where_all_tie_none_is_marked(tmp_path):
    two = lambda arm, prompt_id, index: Answer("a summary" if arm in ("full", "lora") else "nothing")
    first = make(tmp_path / "two", answer=two)
    write_report(first)
    marked = {arm: cell["best"] for arm, cell in read_results(first)["metrics"]["rouge1"].items()}
    assert marked == {"base": False, "prompted": False, "full": True, "lora": True}

    folder = make(tmp_path / "t", answer=lambda arm, prompt_id, index: Answer("a summary"))
    write_report(folder)
    results = read_results(folder)
    assert results["answer"].startswith("The arms base, prompted, full and lora share the highest mean ROUGE-1")
    assert not any(cell["best"] for cell in results["metrics"]["rouge1"].values())


def test_the_data_gates_findings_and_counts_are_told(tmp_path):
    folder = make(tmp_path / "t")
    gate = {
        "text": {
            "rows": {"train": 1900, "validation": 40, "heldout": 12},
            "references": {},
            "findings": [{"code": "near_overlap", "message": "2 examples stand nearly the same", "examples": []}],
            "notes": ["1 row was dropped"],
            "contamination": None,
        },
        "tokens": {},
        "content_hash": "x",
    }
    folder.data.write_text(json.dumps(gate), encoding="utf-8")
    write_report(folder)
    results = read_results(folder)
    assert results["asked"]["Examples"].startswith("1,900 to train on, 40 for validation, 12 held out")
    assert "1 row was dropped" in results["asked"]["Examples"]
    assert results["warnings"] == ["Data: 2 examples stand nearly the same."]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.scores.write_text('{"sample_id": "x/y/0"}\n'), "line 1 is not a Score record"),
        (lambda f: f.plan.write_text("{"), "plan.json is not a plan"),
        (lambda f: f.trial.unlink(), "there is no trial file"),
    ],
)
def test_what_is_missing_or_broken_is_one_error(tmp_path, spoil, message):
    folder = make(tmp_path / "t")
    spoil(folder)
    with pytest.raises(UserError, match=re.escape(message)):
        write_report(folder)
    assert not folder.report.exists()


BLOCKED = """
import sys
for name in ("torch", "transformers", "peft", "datasets"):
    sys.modules[name] = None
"""


def run_cli(*arguments: str, before: str = BLOCKED) -> subprocess.CompletedProcess[str]:
    code = f"{before}\nfrom finetrial.cli.main import dispatch\nsys.exit(dispatch(sys.argv[1:]))"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)


def test_the_command_works_without_torch_and_prints_table_and_paths(tmp_path):
    folder = make(tmp_path / "t")
    done = run_cli("report", str(folder.root))
    assert done.returncode == 0, done.stderr
    assert "ROUGE-1" in done.stdout and str(folder.report / "index.html") in done.stdout
    as_json = run_cli("report", str(folder.root), "--json")
    content = json.loads(as_json.stdout)
    assert content["results"]["metrics"] == read_results(folder)["metrics"]
    assert {Path(p).name for p in content["files"]} >= {
        "index.html",
        "report.md",
        "tables.tex",
        "report.tex",
        "results.json",
    }


def test_a_wrong_path_is_one_line_without_traceback(tmp_path):
    done = run_cli("report", str(tmp_path / "nowhere.yaml"))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_matplotlib_is_imported_by_the_figures_alone_and_torch_by_nothing():
    sources = {
        path.name: path.read_text(encoding="utf-8") for path in Path(reporting.__file__).parent.rglob("*.py")
    }
    importing = {
        name for name, text in sources.items() if re.search(r"^\s*(from|import) matplotlib", text, re.MULTILINE)
    }
    assert len(sources) > 10 and importing == {"drawings.py", "early_figure.py", "verdict_figure.py"}
    light = "import sys, finetrial.cli.report, finetrial.reporting.render.terminal, finetrial.reporting.results"
    check = (
        f"{light}\nassert not {{n.split('.')[0] for n in sys.modules}} & {{'matplotlib', 'torch', 'transformers'}}"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_scores_that_are_not_finite_count_as_undefined(tmp_path):
    folder = make(tmp_path / "t")
    lines = folder.scores.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[0])
    lines[0] = json.dumps({**row, "value": math.nan})
    folder.scores.write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_report(folder)
    assert "NaN" not in (folder.report / "results.json").read_text(encoding="utf-8")
    assert read_results(folder)["metrics"]["rouge1"]["base"]["n_samples"] == 35
