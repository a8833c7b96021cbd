"""Define a judge: whoever grades a trial's blinded texts, and the way in which a program gives its grades.

A judge reads items.jsonl, never the key, and writes grade events to grades.sqlite: it could not tell an arm if
asked. Its grades are locked, unblinded, compared and reported as everybody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard

from finetrial.judging.grading_session import GradingSession
from finetrial.store.grade_records import GradingSettings, RaterKind
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item


class Judge(Protocol):
    """Grades the texts that a trial has set aside."""

    @property
    def name(self) -> str:
        """The word for it."""

    def judge(self, folder: TrialFolder) -> None:
        """Grade until all texts are graded, or until stopped; what was graded before is not asked again.

        Raises UserError where nothing was set aside, and GradesLocked once the key is open.
        """


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's answer about one text."""

    value: str  # good, bad, unsure, or a label of the trial's scale
    reasons: tuple[str, ...] = ()  # of store.grades.REASONS
    note: str | None = None


Question = Callable[[Item, GradingSettings], Judgement]


def grade_items(folder: TrialFolder, *, rater: str, question: Question, rater_kind: RaterKind = "stand-in") -> int:
    """Ask a program about every text, hidden repeats included, and record its answers one by one.

    Returns how many were new. The order is the rater's own, as a person's would be. Raises UserError for an answer
    that the trial's scale does not have.
    """
    session, added = GradingSession(folder), 0
    try:
        joined = session.book.join(rater, origin="judge")
        session.book.declare(joined.name, rater_kind)
        plan = session.plan_for(joined, mode="single", raters=1)
        graded = {
            (cell.item_id, cell.occurrence)
            for cell in session.book.cells(joined.name, mode="single")
            if cell.value is not None
        }
        for cell in plan.positions:
            if (cell.item_id, cell.occurrence) in graded:
                continue
            found = question(session.items[cell.item_id], session.settings)
            event = {"item_id": cell.item_id, "occurrence": cell.occurrence, "position": plan.positions[cell]}
            uid = hash_value([joined.name, cell.item_id, cell.occurrence])[:32]
            grade = {"kind": "grade", "value": found.value, "reasons": list(found.reasons)}
            session.record({**event, **grade, "uid": f"judge-{uid}"}, rater=joined.name)
            if found.note:
                session.record(
                    {**event, "kind": "note", "note": found.note, "uid": f"note-{uid}"}, rater=joined.name
                )
            added += 1
    finally:
        session.close()
    return added


def is_judge(value: object) -> TypeGuard[Judge]:
    """Whether an object can be used as a judge."""
    return isinstance(getattr(value, "name", None), str) and callable(getattr(value, "judge", None))
