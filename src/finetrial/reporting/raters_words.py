"""Read what raters said of each graded answer: grades, reasons and notes, once the grades are locked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

from finetrial.reporting.gather import TrialRecords
from finetrial.reporting.safe_text import one_line
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grade_records import MODEL, UnblindedGrade

_LONGEST_NOTE = 300  # characters of a note beside an answer; grades/ has it whole
_WORDS = {"unsure": "can’t tell"}


def grades_by_sample(records: TrialRecords) -> dict[str, tuple[UnblindedGrade, ...]]:
    """The grades that people gave each sample; nothing while they may still be given blind."""
    if not records.grades_locked:
        return {}
    found: dict[str, list[UnblindedGrade]] = defaultdict(list)
    for grade in unblinded_grades(records.folder):
        if grade.rater_kind != MODEL:
            found[grade.sample_id].append(grade)
    return {sample_id: tuple(grades) for sample_id, grades in found.items()}


def said_of(grades: tuple[UnblindedGrade, ...]) -> str | None:
    """What raters said of one answer: "good", or of several raters "Anna: bad (unfinished, “no end”)"."""
    if not grades:
        return None
    named = len({grade.rater for grade in grades}) > 1
    return "; ".join(
        f"{one_line(grade.rater, longest=40)}: {_said(grade)}" if named else _said(grade) for grade in grades
    )


def _said(grade: UnblindedGrade) -> str:
    word = grade.label or _WORDS.get(grade.value, grade.value)
    why = [_words(reason) for reason in grade.reasons]
    if grade.note:
        why.append(f"“{one_line(grade.note, longest=_LONGEST_NOTE)}”")
    return f"{word} ({', '.join(why)})" if why else word


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def reasons_by_arm(grades: Mapping[str, tuple[UnblindedGrade, ...]]) -> dict[str, Counter[str]]:
    """How often each reason was given of each arm's answers, the most frequent reason first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for of_sample in grades.values():
        for grade in of_sample:
            for reason in grade.reasons:
                found[_words(reason)][grade.arm] += 1
    return dict(sorted(found.items(), key=lambda row: (-row[1].total(), row[0])))
