"""A report names what it rests on, and sets the base model's intended use beside the measured failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_trial import TRIAL, Parts, build_whole

from finetrial.evidence.trial_findings import trial_findings
from finetrial.reporting.document import Document, Facts, Paragraph, plain
from finetrial.reporting.write import compose_report

TEXT = TRIAL.replace(
    "report: {",
    "report: {acknowledgements: We thank Anna., intended_use: 'Chat in English, not for news.', ",
)


def made(root: Path, text: str) -> Document:
    folder = build_whole(root / "trial", Parts(trial_text=text)).folder
    return compose_report(folder, open_grades=False, findings=trial_findings(folder)).document


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Document:
    return made(tmp_path_factory.mktemp("sources"), TEXT)


def facts(document: Document, section: str) -> dict[str, list[str]]:
    (found,) = [s for s in document.sections if s.id == section]
    rows = [row for block in found.blocks if isinstance(block, Facts) for row in block.rows]
    return {row.label: [plain(row.text), *map(plain, row.more)] for row in rows}


def paragraphs(document: Document, section: str) -> list[str]:
    (found,) = [s for s in document.sections if s.id == section]
    return [plain(block.text) for block in found.blocks if isinstance(block, Paragraph)]


def test_works_are_named_where_they_were_used_and_nowhere_else(document):
    said = facts(document, "sources")
    assert said["Model"] == ["base"]
    (data,) = said["Data"]
    assert data.startswith("train: data/train.jsonl; ") and data.endswith("held out: data/heldout.jsonl")
    assert ["ROUGE" in work for work in said["Metrics"]] == [True]  # ROUGE-1 and ROUGE-L are one work
    assert [work.split(" et al")[0] for work in said["Methods"]] == ["Hu"]
    everything = " ".join(text for works in said.values() for text in works)
    assert "VeRA" not in everything and "SQuAD" not in everything and "PPI++" not in everything
    assert "Holm" in everything and "Wilson" in everything
    assert "Krippendorff" not in everything  # one rater agrees with nobody


def test_acknowledgements_stand_at_the_end(document):
    assert document.sections[-1].id == "sources"
    assert paragraphs(document, "sources") == ["We thank Anna."]


def test_the_intended_use_stands_beside_measured_failures_as_a_hypothesis(document):
    said = facts(document, "intended_use")
    assert said["The base model is meant for"] == ["Chat in English, not for news."]
    (of_base,) = said["Oftener in base than in the references"]
    assert "novel words 100\u00a0% (references 0\u00a0%)" in of_base
    (note,) = paragraphs(document, "intended_use")
    assert "is a hypothesis" in note


def test_without_an_intended_use_nothing_is_said_of_one(tmp_path):
    plain_one = made(tmp_path, TRIAL)
    assert "intended_use" not in {section.id for section in plain_one.sections}
    assert paragraphs(plain_one, "sources") == []
