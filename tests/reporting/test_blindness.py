"""The report gives away which arm wrote what only when grading is over, or when somebody says so and is noted."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PROMPTS, make, secret

from finetrial.evidence.of_trial import trial_findings
from finetrial.grading.blind import write_items
from finetrial.grading.events import GradeBook
from finetrial.reporting.gather import gather
from finetrial.reporting.results import read_results
from finetrial.reporting.write import write_report
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.trial.subset import grading_prompts

SET_ASIDE = grading_prompts(PROMPTS, count=3, seed=0)


@pytest.fixture
def blinded(tmp_path: Path) -> TrialFolder:
    """A trial whose samples were blinded, as `finetrial run` leaves it."""
    folder = make(tmp_path / "t")
    records = gather(folder)
    write_items(folder, records.samples, judging=records.trial.judging, seed=0)
    return folder


def given_away(folder: TrialFolder) -> int:
    """How many of the set-aside samples' own words stand on the page."""
    page = (folder.report / "index.html").read_text(encoding="utf-8")
    words = [secret(arm, p, i) for arm in ("base", "full") for p in SET_ASIDE for i in range(3)]
    assert len(words) == 18
    return sum(word in page for word in words)


def test_while_grades_may_still_be_given_nothing_is_given_away_or_logged(blinded):
    write_report(blinded)
    assert given_away(blinded) == 0
    assert grading_state(blinded).opened_at is None


def test_findings_quote_nothing_of_the_prompts_set_aside(blinded):
    findings = trial_findings(blinded)
    quoted = {example.prompt_id for row in findings.diagnostics for example in row.examples}
    assert quoted and not quoted & SET_ASIDE
    write_report(blinded, findings=findings)
    assert given_away(blinded) == 0
    results = (blinded.report / "results.json").read_text(encoding="utf-8")
    words = [secret(arm, p, i) for arm in ("base", "full") for p in SET_ASIDE for i in range(3)]
    assert len(words) == 18 and [word for word in words if word in results] == []


def test_findings_of_opened_grades_may_quote_them(blinded):
    quoted = {e.prompt_id for row in trial_findings(blinded, open_grades=True).diagnostics for e in row.examples}
    assert quoted & SET_ASIDE


def test_opening_gives_all_away_and_is_logged_once_it_happened(blinded):
    write_report(blinded, open_grades=True)
    assert given_away(blinded) == 18
    assert grading_state(blinded).opened_at is not None
    assert read_results(blinded)["grading"] == {"set_aside": shown_order(), "opened": True, "locked": False}


def test_once_the_grades_are_locked_everything_is_shown_without_a_warning(blinded):
    book = GradeBook(blinded.grades)
    assert book.lock()
    book.close()
    write_report(blinded)
    page = (blinded.report / "index.html").read_text(encoding="utf-8")
    assert given_away(blinded) == 18
    assert "not blind" not in page and "await" not in page
    assert read_results(blinded)["grading"] == {"set_aside": shown_order(), "opened": False, "locked": True}
    assert grading_state(blinded).opened_at is None


def shown_order() -> list[str]:
    return [prompt_id for prompt_id in PROMPTS if prompt_id in SET_ASIDE]
