"""The worked report: its reference figures, the same document of other numbers, and what was not graded or run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from worked_report.__main__ import build, main, pdf_of
from worked_report.compose import compose
from worked_report.inputs import read_inputs
from worked_report.trial_record import keep, read_record, record_of

from finetrial.cli.main import dispatch
from finetrial.errors import AnswerIsNo, UserError
from finetrial.judging.grading_session import GradingSession
from finetrial.reporting.document import Document, Table, plain
from finetrial.reporting.render.latex import render_article
from finetrial.reporting.render.markdown import render_markdown
from finetrial.store.layout import TrialFolder

ROOT = Path(__file__).parents[2]
INPUTS = ROOT / "examples" / "worked_report" / "inputs.yaml"
DOCS = ROOT / "docs" / "worked-report"


@pytest.fixture(scope="module")
def reference() -> Document:
    return compose(read_inputs(INPUTS), base=INPUTS.parent, command="make worked-report")


def tables(document: Document) -> dict[str, Table]:
    return {block.name: block for _, block in document.blocks() if isinstance(block, Table)}


def column(table: Table, title: str) -> dict[str, str]:
    place = table.columns.index(title)
    return {plain(row.head): row.cells[place].text for row in table.rows}


# Lines of the reference table, each as this document writes it.
FIGURES = (
    "1.6482 × 10²⁴ FLOPs",  # C
    "1.895506113 nats a token",  # L
    "1.876551052 nats a token",  # L'
    "7.54407124 × 10¹²",  # D'
    "3.03271664 × 10²⁴ FLOPs",  # 6 N D'
    "3.644 in all, which are 2.644 added to the first",
    "1.494 × 10¹³",
    "6.006 × 10²⁴ FLOPs",
    "1.305 in all, which are 0.305 added to the first",
    "8, which takes 37,748,736 bytes",  # the rank on queries alone
    "2.644 are added to the first epoch, which makes 3.644 in all; 1.305 is a total",
    "C′ = 3.033 × 10²⁴ FLOPs does not pay for the repetitions: reading the data 3.644 times takes 6.006 × 10²⁴",
    "1.41 N is not the optimum of that compute: 1.84 N is, with a loss of 1.87964 against 1.88041",
    "from a loss of 1.90 in place of 1.895506 follow 6.48 × 10¹² effective tokens",
    "ROUGE-1 = 1 does not mean identical texts",
)


def test_the_figures_are_those_of_the_reference_and_their_readings_stand_beside_them(reference):
    text = re.sub(r"\\(.)", r"\1", render_markdown(reference))
    assert [figure for figure in FIGURES if figure not in text] == []
    losses = column(tables(reference)["same_compute"], "Loss")
    assert losses["C′, 1.41 N"] == "1.88041" and losses["C′, N"] == "1.88376"
    assert losses["C″, 1.41 N"] == "1.87007"
    reaches = column(tables(reference)["same_compute"], "Reaches the aim")
    assert set(reaches.values()) == {"yes", "no"}
    assert all((row.startswith("C″")) is (said == "yes") for row, said in reaches.items())
    copies = column(tables(reference)["storage"], "100 copies")
    assert list(copies.values()) == ["31.83 TiB", "31.76 TiB", "5.273 TiB", "3.516 GiB"]
    one = column(tables(reference)["storage"], "One copy")
    assert list(one.values()) == ["325.96 GiB", "325.23 GiB", "54 GiB", "36 MiB"]


def test_published_figures_stand_in_columns_of_their_own_and_are_said_to_be_of_other_models(reference):
    arms = tables(reference)["tldr_arms"]
    assert column(arms, "Good, published of GPT-2") == {"base": "1/15", "full": "15/15", "lora": "10/15"}
    assert column(arms, "ROUGE-1, published of GPT-2") == {"base": "0.098", "full": "0.29", "lora": "0.2"}
    assert "come from another model, GPT-2" in arms.note
    verse = tables(reference)["verse_arms"]
    assert column(verse, "Good, published of Phi-1.5") == {"base": "4/15", "full": "14/15", "lora": "–"}
    for name in ("verse_published", "tldr_published"):
        assert all(re.fullmatch(r"[0-3]/3", c.text) for row in tables(reference)[name].rows[:5] for c in row.cells)
    assert column(tables(reference)["published_models"], "Here") == {"Phi-1.5": "not run", "GPT-2": "not run"}


def test_the_grades_are_a_stand_in_s_and_no_table_says_people(reference):
    for name, table in tables(reference).items():
        written = " ".join((table.title or "", *table.columns, table.note))
        assert "people" not in written.lower() or "GPT" in written, name
    assert "Good (stand-in)" in tables(reference)["verse_arms"].columns
    assert "stand-in" in (tables(reference)["tldr_prompts"].title or "")
    text = render_markdown(reference)
    assert text.count("No person graded") == 2


def test_what_stands_in_the_docs_is_made_from_the_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("worked_report.__main__.pdf_of", lambda tex: None)
    written = build(INPUTS.relative_to(ROOT), tmp_path)
    assert len(written) == 3
    for path in written:
        assert (DOCS / path.name).read_text() == path.read_text(), (
            f"`make worked-report` writes another {path.name}"
        )
    assert (DOCS / "worked-report.pdf").read_bytes().startswith(b"%PDF")


# Other numbers, another model, other trials


def make_trial(root: Path, *, grade: bool) -> TrialFolder:
    """Outputs of two arms; a person calls what the tuned arm wrote good."""
    root.mkdir(parents=True)
    rows = [
        {"prompt": f"Q{p}", "arm": arm, "text": f"{word} {p} {n}", "reference": f"right {p}"}
        for p in range(6)
        for arm, word in (("base", "wrong"), ("tuned", "right"))
        for n in range(2)
    ]
    file = root / "outs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["grade", str(file), "--export", str(root / "page.html")]) == 0
    folder = TrialFolder(root / "runs" / "outs")
    if grade:
        session = GradingSession(folder)
        session.book.join("Anna")
        session.book.declare("Anna", "person")
        for n, item in enumerate(session.items.values()):
            value = "good" if item.text.startswith("right") else "bad"
            event = {"uid": f"uid-{n:08}", "kind": "grade", "item_id": item.item_id, "value": value}
            session.record(event, rater="Anna")
        session.close()
        assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    return folder


OTHER = {
    "name": "other",
    "title": "Other numbers",
    "scaling": {
        "params": "1B",
        "tokens": "20B",
        "improve": "2%",
        "grow": 3,
        "law": "besiroglu2024",
        "repeat": "none",
    },
    "storage": {"model": "gpt2", "copies": 7, "matrices": ["q"], "rank": 2, "alone": ["v"], "dtype": "float32"},
    "comparisons": [
        {"id": "graded", "title": "Graded", "question": "Which?", "records": "graded/runs/outs"},
        {"id": "open", "title": "Open", "question": "Which?", "records": "open/runs/outs"},
        {"id": "absent", "title": "Absent", "question": "Which?", "records": "nowhere"},
    ],
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Document]:
    root = tmp_path_factory.mktemp("other")
    make_trial(root / "graded", grade=True)
    make_trial(root / "open", grade=False)
    (root / "inputs.yaml").write_text(yaml.safe_dump(OTHER))
    return root, compose(read_inputs(root / "inputs.yaml"), base=root, command="make other")


def test_made_from_other_numbers_it_is_right(other):
    text = re.sub(r"\\(.)", r"\1", render_markdown(other[1]))
    # by hand: C = 6 x 1e9 x 2e10; L = 1.8172 + 482.01 / 1e9^.3478 + 2085.43 / 2e10^.3658
    loss = 1.8172 + 482.01 / 1e9**0.3478 + 2085.43 / 2e10**0.3658
    tokens = (2085.43 / (0.98 * loss - 1.8172 - 482.01 / 1e9**0.3478)) ** (1 / 0.3658)
    assert "1.2 × 10²⁰ FLOPs" in text and f"{loss:.10g} nats a token" in text
    assert f"{tokens / 20e9:.4g} in all" in text  # no pass is worth less than another
    # at C' three times the size passes a third of the epochs
    assert f"{tokens / 20e9 / 3:.4g} in all" in text
    one = column(tables(other[1])["storage"], "Parameters")
    assert one["The query matrices"] == f"{12 * 768 * 768:,}"
    assert one["LoRA of rank 2 on query"] == f"{12 * 2 * (768 + 768):,}"
    assert f"2, which takes {12 * 2 * (768 + 768) * 4:,} bytes" in text
    assert "4.1T" not in text and "gpt3" not in text and "Phi-1.5" not in text


def test_people_nobody_and_no_trial_are_told_apart(other):
    document = other[1]
    arms = tables(document)["graded_arms"]
    assert column(arms, "Good (people)") == {"base": "0/12", "tuned": "12/12"}
    assert column(tables(document)["open_arms"], "Good") == {"base": "not graded", "tuned": "not graded"}
    assert "open_prompts" not in tables(document)
    lead = [plain(block.text) for block in document.lead.blocks if hasattr(block, "text")]
    assert lead[1:] == [
        "Graded: good answers by people: base 0/12 and tuned 12/12.",
        "Open: not graded.",
        "Absent: not run.",
    ]
    tests = tables(document)["graded_tests"]
    assert column(tests, "p") == {"base against tuned": "0.031"}  # six prompts, all signs alike: 2 / 2^6
    ranking = column(tables(document)["ranking"], "By good answers")
    assert ranking == {"Graded (people)": "tuned > base", "Open": "not graded"}
    assert "stand-in" not in render_markdown(document)


def test_a_trial_of_the_published_model_is_named_once_it_has_been_run(other, tmp_path):
    given = yaml.safe_load((other[0] / "inputs.yaml").read_text())
    published = {"model": "Big", "raters": "one rater", "example": "big.yaml", "ran": "graded/runs/outs"}
    given["comparisons"][0]["published"] = published
    (other[0] / "run.yaml").write_text(yaml.safe_dump(given))
    document = compose(read_inputs(other[0] / "run.yaml"), base=other[0], command="make other")
    said = column(tables(document)["published_models"], "Here")["Big"]
    # "wrong 0 1" shares one of three words with the two of "right 0": F = 2 x 1 / (3 + 2); "right 0 1" shares two
    assert said == "ROUGE-1: base 0.400 and tuned 0.800; good answers: base 0/12 and tuned 12/12"


def test_the_texts_of_blind_prompts_are_not_printed(other):
    document = other[1]
    section = next(one for one in document.sections if one.id == "open")
    assert not [block for block in section.blocks if type(block).__name__ == "Transcript"]
    graded = next(one for one in document.sections if one.id == "graded")
    shown = [block for block in graded.blocks if type(block).__name__ == "Transcript"]
    judged = {(row.arm, c.judged) for one in shown for row in one.answers for c in row.completions}
    assert len(shown) == 2 and judged == {("base", "bad"), ("tuned", "good")}


def test_grades_that_are_still_blind_are_not_reported_as_none(tmp_path):
    folder = make_trial(tmp_path / "blind", grade=False)
    session = GradingSession(folder)
    session.book.join("Ben")
    item = next(iter(session.items))
    session.record({"uid": "uid-00000001", "kind": "grade", "item_id": item, "value": "good"}, rater="Ben")
    session.close()
    with pytest.raises(AnswerIsNo, match="still blind"):
        record_of(folder)


def test_a_kept_record_says_what_its_folder_says(other, tmp_path):
    record = record_of(TrialFolder(other[0] / "graded" / "runs" / "outs"))
    keep(record, tmp_path / "kept.json")
    assert read_record(tmp_path / "kept.json") == record
    (tmp_path / "bad.json").write_text('{"results": 3}')
    with pytest.raises(UserError, match=r"bad\.json is not the kept record"):
        read_record(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scalling": {}}, "scalling"),
        ({"scaling": {"params": "1B"}}, "scaling.tokens"),
        ({"comparisons": [{"id": "a", "title": "A", "question": "?", "records": "x"}] * 2}, "two comparisons"),
    ],
)
def test_a_wrong_input_is_one_error_that_names_it(tmp_path, capsys, change, said):
    (tmp_path / "inputs.yaml").write_text(yaml.safe_dump({**OTHER, **change}))
    assert main([str(tmp_path / "inputs.yaml"), "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.glob("*.html"))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("xelatex") is None, reason="NOT TESTED: no xelatex; the article was not compiled")
def test_the_article_compiles_and_its_font_has_every_character(reference, capsys):
    pdf = pdf_of(render_article(reference))
    assert pdf is not None and pdf.startswith(b"%PDF")
    assert capsys.readouterr().err == ""
