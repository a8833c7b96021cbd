"""Every form of a report renders every block, a section is one file and one row, and tables fit their place."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import matplotlib
import pytest
from building import TRIAL
from hostile_trial import Made, make
from markdown_it import MarkdownIt
from PIL import ImageFont

from finetrial.errors import UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting import document
from finetrial.reporting.compose import SECTIONS, section_makers
from finetrial.reporting.document import (
    BLOCKS,
    Answers,
    ArmName,
    Block,
    Code,
    Commands,
    Completion,
    Document,
    Drawing,
    Equation,
    Equations,
    Excerpt,
    Fact,
    Facts,
    Figure,
    Folded,
    Formula,
    Heading,
    Level,
    Notice,
    Paragraph,
    Quote,
    Section,
    Table,
    TableCell,
    TableRow,
    Transcript,
)
from finetrial.reporting.render.html import render_html
from finetrial.reporting.render.latex import COLUMN_POINTS, render_article, render_tables
from finetrial.reporting.render.markdown import render_markdown
from finetrial.reporting.render.results_json import block_object
from finetrial.reporting.render.split_columns import split_columns
from finetrial.reporting.render.terminal import WIDTH, render_terminal
from finetrial.reporting.renderers import renderers
from finetrial.reporting.results import read_results
from finetrial.reporting.verification import verify
from finetrial.reporting.write import write_report

HOSTILE = "<b>x</b> | \\input{y} & $z_1$ `t` \x07"


def examples(word: str) -> dict[type, Block]:
    """A block of every type, in which `word` and a hostile text stand."""
    text = f"{word} {HOSTILE}"
    row = TableRow(
        (ArmName("lora"), " ", Code(text), " ", Quote(text)), (TableCell(text, (text,), best=True),), text
    )
    svg = "<svg xmlns='http://www.w3.org/2000/svg'></svg>"
    drawing = Drawing(word, word, f"{word} {HOSTILE}", svg, svg, svg, b"")
    completion = Completion("A", text, 7, 0.25, "length", judged=text)
    return {
        Heading: Heading(text),
        Paragraph: Paragraph((text, " of ", ArmName("lora"))),
        Notice: Notice((text, text), title=text, level=Level.WARNING),
        Facts: Facts((Fact(text, text, (text,)),)),
        Table: Table(f"table{word}", text, (text,), (row,), text, title=text),
        Figure: Figure(drawing, text),
        Equations: Equations(
            (Equation(Formula(text, r"\text{wombat}"), (Formula("1", "1"),), source=text, remark=text),)
        ),
        Commands: Commands(text),
        Excerpt: Excerpt((ArmName("lora"),), text, 7, "samples/"),
        Folded: Folded(text, (Paragraph(text),)),
        Transcript: Transcript(4, word, text, text, 7, (text,), (Answers("lora", (completion,)),), "ROUGE-1", True),
    }


def of(*blocks: Block) -> Document:
    lead = Section("opening", "Verdict", (Paragraph("One sentence."),))
    section = Section("toy", "Toy", blocks, brief=blocks)
    return Document("t", "t", (), {"base": 0, "lora": 1}, lead, (section,), "0")


RENDERERS = {
    "html": render_html,
    "markdown": render_markdown,
    "article": render_article,
    "terminal": render_terminal,
    "json": lambda made: json.dumps([block_object(block) for block in made.sections[0].blocks]),
}
LEFT_OUT = {("json", Excerpt)}  # results.json leaves long texts to samples/


@pytest.mark.parametrize("form", RENDERERS)
def test_every_form_renders_every_block_and_nothing_in_it_acts(form):
    assert set(examples("w")) == set(BLOCKS) == set(document.Block.__args__)
    for kind, block in examples("wombat").items():
        text = RENDERERS[form](of(block))
        assert ("wombat" in text) is ((form, kind) not in LEFT_OUT), kind
        assert "\x07" not in text
        if form == "html":
            assert "<b>" not in text and len(re.findall("<p[ >]", text)) == text.count("</p>")
        if form == "article":
            assert not re.search(r"\\input\b|(?<!\\)\$z", text)


def test_tables_in_latex_and_markdown_hold_hostile_cells():
    block = examples("wombat")[Table]
    (rows,) = tables_of(render_markdown(of(block)))
    assert [len(row) for row in rows] == [2, 2] and rows[1][1].count("wombat") == 2
    assert r"\textbackslash{}input" in render_tables(of(block))


# The examples of docs/report.md are what is tested.
TOY, TOY_RENDERER = re.findall(
    r"^```python\n(.*?)^```$",
    (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def install(site: Path, name: str, *, group: str, row: str, text: str) -> None:
    """Install a package of one module: one file, and one row that names what stands in it."""
    (site / f"{name}.py").write_text(text)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\ntoy = {name}:{row}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for packages of a test's own, gone after it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) in {str(path) for path in tmp_path.glob("*.py")}:
            del sys.modules[name]


@pytest.fixture
def quokkas(site: Path) -> Path:
    """An installed package with a section of its own."""
    install(site, "quokka_section", group="finetrial.sections", row="SECTION", text=TOY)
    return site


def test_a_section_of_another_package_is_one_file_and_one_row_and_stands_in_every_form(quokkas, tmp_path):
    folder = make(tmp_path / "t")
    files = write_report(folder, findings=trial_findings(folder))
    assert [maker.id for maker in section_makers()][-4:] == ["toy", "transcripts", "recompute", "sources"]
    for path in (files.html, files.markdown, files.article):
        text = path.read_text(encoding="utf-8")
        assert "There are 12 prompts here." in text and "Each was sampled." in text, path
    assert '<a href="#toy">Prompts</a>' in files.html.read_text(encoding="utf-8")
    assert r"\label{tab:toy}" in files.tables.read_text(encoding="utf-8")
    assert "There are 12 prompts here." in files.terminal and re.search(
        r"^prompts +12$", files.terminal, re.MULTILINE
    )
    assert read_results(folder)["sections"]["toy"]["blocks"][1]["rows"][0]["cells"] == [["12"]]
    assert verify(folder).holds


def test_a_form_of_another_package_is_one_file_and_one_row_written_and_verified_with_the_others(site, tmp_path):
    install(site, "quokka_form", group="finetrial.renderers", row="RENDERER", text=TOY_RENDERER)
    folder = make(tmp_path / "t")
    files = write_report(folder, findings=trial_findings(folder))
    titles = folder.report / "titles.txt"
    assert titles in files.all and titles.read_text().splitlines()[:2] == ["Scores", "Paired comparisons"]
    assert verify(folder).holds
    titles.write_text(titles.read_text().replace("Arms and cost", "Arms"))
    assert [row.what for row in verify(folder).mismatches] == ["report/titles.txt, line 5"]


@pytest.mark.parametrize(
    ("group", "made", "said"),
    [
        ("finetrial.sections", "TOY = 'toy'", "toy of quokka 1.0 is no section"),
        ("finetrial.sections", "TOY = ()", "toy of quokka 1.0 is no section"),
        ("finetrial.sections", "from finetrial.reporting.sections.scores import SCORES as TOY", "are named scores"),
        ("finetrial.sections", "TOY = 1 / 0", "the section toy of quokka 1.0 cannot be loaded"),
        ("finetrial.renderers", "from finetrial.reporting.renderers import HTML as TOY", "are named index.html"),
        (
            "finetrial.renderers",
            "from finetrial.reporting.renderers import Renderer\nTOY = Renderer('../x', str)",
            "the renderer toy of quokka 1.0 cannot be loaded",
        ),
    ],
)
def test_what_cannot_be_used_is_one_error_that_names_its_package(site, group, made, said):
    install(site, "quokka", group=group, row="TOY", text=made)
    with pytest.raises(UserError, match=said):
        section_makers() if group == "finetrial.sections" else renderers()


def test_a_section_that_needs_what_is_not_there_is_left_out(made: Made):
    titles = re.findall(r"^## (.*)$", made.markdown, re.MULTILINE)
    assert titles[:3] == ["Scores", "Arms and cost", "Planned and measured"]  # a reader's questions, in their order
    assert titles[3:5] == ["Training and validation loss", "What was compared"] and len(SECTIONS) == 19
    assert titles[5:] == ["Transcripts", "How to recompute", "Sources"]


def tables_of(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text as GitHub reads it: rows of cells."""
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and token.level > 3 and tables and tables[-1]:
            tables[-1][-1].append(token.content)
    return tables


def test_markdown_tables_are_read_as_tables_with_every_cell(made: Made):
    tables = [rows for rows in tables_of(made.markdown) if len(rows) > 1]
    assert len(tables) == 3 == made.markdown.count("\n| --- |")
    for rows, arms in zip(tables, (4, 4, 1), strict=True):  # one arm was planned
        assert len({len(row) for row in rows}) == 1 and len(rows) == 1 + arms


def test_a_table_without_columns_is_still_one_in_markdown():
    table = Table("t", "Arm", (), (TableRow((ArmName("base"),), (), "the model as it is"),))
    (rows,) = tables_of(render_markdown(of(table)))
    assert rows == [["Arm"], ["base: the model as it is"]]


MANY = "rouge1, rouge2, rougeL, rougeLsum, exact, f1, json, length_ratio"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A trial with eight metrics and an arm with a long name."""
    trial = TRIAL.replace("[rouge1, rouge2, rougeL]", f"[{MANY}]").replace("prompted:", "prompted-with-examples:")
    folder = make(tmp_path_factory.mktemp("wide") / "t", trial_text=trial)
    return Made(folder, write_report(folder, findings=trial_findings(folder)))


def points(text: str) -> float:
    """The width of a line of LaTeX as Computer Modern sets it: 9 points in tables, 7 in small lines, bold wider."""
    size = 7.0 if r"\scriptsize" in text else 9.0
    face = "cmb10.ttf" if r"\textbf" in text else "cmr10.ttf"
    shown = re.sub(r"\\(textbf|scriptsize|times|pm|,)|[{}$\\^]", "", text).replace("~", " ").strip()
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face
    # cmr9 and cmr7 are up to 3 and 14 per cent wider than cmr10 scaled down.
    return ImageFont.truetype(str(path), 1000).getlength(shown) / 1000 * size * (1.14 if size == 7.0 else 1.03)


def test_latex_tables_fit_the_column_of_an_article(wide: Made):
    text = wide.files.tables.read_text(encoding="utf-8")
    bodies = re.findall(
        r"^  \\begin\{tabular\}\{l[lr]*\}\n(.*?)^  \\end\{tabular\}", text, re.DOTALL | re.MULTILINE
    )
    assert len(bodies) > text.count(r"\begin{table}") >= 4  # tables go on below
    widest = 0.0
    for body in bodies:
        rows = [
            re.split(r"(?<!\\) & ", row) for row in re.findall(r"^    (\w.*|\\stacked.*) \\\\$", body, re.MULTILINE)
        ]
        assert len(rows) > 2
        lines = [[re.sub(r"^\\stacked\[.\]\{(.*)\}$", r"\1", cell).split(r" \\ ") for cell in row] for row in rows]
        width = sum(
            8.0 + max(points(line) for cell in column for line in cell) for column in zip(*lines, strict=True)
        )
        widest = max(widest, width)
    assert 250 < widest <= COLUMN_POINTS


def test_the_terminal_holds_every_metric_of_a_wide_table_within_80_columns(wide: Made):
    text = wide.files.terminal
    assert max(map(len, text.splitlines())) <= WIDTH
    scores = text.split("\nScores\n")[1]
    titles = (
        "ROUGE-1",
        "ROUGE-2",
        "ROUGE-L",
        "ROUGE-Lsum",
        "Exact match",
        "Token F1",
        "Valid JSON",
        "Length ratio",
    )
    assert [title for title in titles if title not in re.sub(r" +", " ", scores)] == []
    assert scores.count("Arm ") >= 2


def test_columns_are_divided_where_the_next_would_not_fit():
    assert split_columns([10, 10, 10], first=5, room=30) == [range(0, 2), range(2, 3)]
    assert split_columns([40, 10], first=5, room=30) == [range(0, 1), range(1, 2)]
    assert split_columns([], first=5, room=30) == [range(0, 0)]


def test_no_arm_is_best_by_a_metric_of_which_more_is_no_better(wide: Made):
    results = read_results(wide.folder)
    best = {
        metric: [arm for arm, cell in row.items() if cell["best"]] for metric, row in results["metrics"].items()
    }
    assert best["rouge1"] == ["full"] and best["length_ratio"] == []
    assert "Length ratio neither higher nor lower is better" in wide.markdown.replace("\\", "")


def test_results_json_gives_every_section_and_only_what_the_page_shows(made: Made):
    sections = read_results(made.folder)["sections"]
    shown = set(re.findall(r'<section id="(\w+)"', made.page))
    assert set(sections) == shown | {"opening"}
    numbers = [block["transcript"] for block in sections["transcripts"]["blocks"] if "transcript" in block]
    assert [f'id="prompt-{n}"' in made.page for n in numbers] == [True] * 9


def test_a_number_and_its_sign_stay_on_one_line_of_the_page_and_texts_stay_as_they_are():
    said = "within 5 % of it (95 % interval 1 to 2, p < .001, Holm p = 0.02), at 10 Hz"
    held = "within 5~% of it (95~% interval 1 to 2, p~<~.001, Holm p~=~0.02), at 10 Hz".replace("~", "\u00a0")
    row = TableRow((said,), (TableCell(said, (said,)),), said)
    table = Table("t", "Arm", (said,), (row,), said, title=said)
    page = unescape(render_html(of(Paragraph((said,)), Notice((said,), level=Level.NOTE), table)))
    assert page.count(held) == 9 and said not in page
    texts = unescape(render_html(of(Excerpt(("lora",), said, 0, "samples/"), Paragraph((Quote(said),)))))
    assert texts.count(said) == 2 and held not in texts
