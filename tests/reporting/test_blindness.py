"""The report gives away which arm wrote what only when grading is over, or when somebody says so and is noted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile_trial import PROMPTS, make, secret

from finetrial.evidence.trial_findings import trial_findings
from finetrial.judging.blinding import write_items
from finetrial.judging.events import GradeBook
from finetrial.judging.grading_session import GradingSession
from finetrial.reporting.gather import gather
from finetrial.reporting.results import read_results
from finetrial.reporting.write import write_report
from finetrial.store.grade_records import RaterKind
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


def graded(folder: TrialFolder, *, kind: RaterKind = "person") -> None:
    """Anna grades every text and every pair, some texts twice, and guesses: always right, as lora wins."""
    records = gather(folder)
    write_items(folder, records.samples, judging=records.trial.judging, seed=0)
    key = json.loads(folder.key.read_text(encoding="utf-8"))  # [sample, prompt, arm]; `read_key` would log it
    session = GradingSession(folder)
    session.book.join("Anna")
    session.book.declare("Anna", kind)

    def send(kind: str, item_id: str, value: str, **more: object) -> None:
        uid = f"{kind}-{item_id}-{more.get('occurrence', 1)}-{more.get('mode', '')}"
        session.record({"uid": uid, "kind": kind, "item_id": item_id, "value": value, **more}, rater="Anna")

    writer = {item: members[0][2] for item, members in key["items"].items()}
    rank = {"base": 0, "prompted": 1, "full": 2, "lora": 3}
    for n, (item, arm) in enumerate(writer.items()):
        send("grade", item, "good" if rank[arm] > 1 else "bad", shown_ms=2500)
        if n < 4:
            send("grade", item, "bad" if n else "good", occurrence=2)
        send("guess", item, arm)
    for n, pair in enumerate(session.pairs.values()):
        stronger = rank[writer[pair.first]] > rank[writer[pair.second]]
        send("grade", pair.pair_id, "tie" if n % 3 == 0 else "first" if stronger else "second", mode="pairs")
    assert session.book.lock()
    session.close()


def test_how_it_was_graded_is_shown_once_the_grades_are_locked(tmp_path):
    folder = make(tmp_path / "t")
    before = trial_findings(folder)
    assert before.grading is None
    write_report(folder, findings=before)
    assert "How it was graded" not in (folder.report / "index.html").read_text(encoding="utf-8")
    graded(folder)
    findings = trial_findings(folder)
    write_report(folder, findings=findings)
    facts = findings.grading
    texts = [
        (folder.report / "index.html").read_text(encoding="utf-8"),
        (folder.report / "report.md").read_text(encoding="utf-8"),
    ]
    assert facts.guesses.hits == facts.guesses.of == facts.grades
    for text in texts:
        assert "How it was graded" in text and "blind in form and not in effect" in text
        assert f"{facts.grades} grades by Anna, each in 2.5" in text and "before anybody had opened the key" in text
        assert "Anna gave" in text and "of 4 the same grade" in text
        assert f"{facts.choices} side-by-side choices" in text and "Preferred to base" in text
    assert list(facts.strengths.strengths) and read_results(folder)["grading_facts"]["choices"] == facts.choices


def test_where_no_person_graded_no_table_speaks_of_people(tmp_path):
    folder = make(tmp_path / "t")
    graded(folder, kind="stand-in")
    write_report(folder, findings=trial_findings(folder))
    for name in ("index.html", "report.md", "tables.tex"):
        text = (folder.report / name).read_text(encoding="utf-8")
        assert "tand-ins" in text and "hat people said" not in text
    assert "grades by Anna (a stand-in)" in (folder.report / "report.md").read_text(encoding="utf-8")


def test_before_the_lock_neither_guesses_nor_strengths_stand_anywhere(blinded):
    session = GradingSession(blinded)
    session.book.join("Anna")
    item = next(iter(session.items))
    session.record({"uid": "guess-00001", "kind": "guess", "item_id": item, "value": "base"}, rater="Anna")
    session.close()
    findings = trial_findings(blinded)
    assert findings.grading is None and grading_state(blinded).opened_at is None
    write_report(blinded, findings=findings)
    assert "How it was graded" not in (blinded.report / "report.md").read_text(encoding="utf-8")
