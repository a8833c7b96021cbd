"""Read what raters said of each graded answer: grades, reasons and notes, once the grades are locked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from finetrial.reporting.gather import TrialRecords
from finetrial.reporting.safe_text import one_line
from finetrial.store.grade_key import unblinded_grades, unblinded_notes
from finetrial.store.grade_records import MODEL, UnblindedNote

_LONGEST_NOTE = 300  # characters of a note beside an answer; grades/ has it whole
_WORDS = {"unsure": "can’t tell"}


@dataclass(frozen=True, slots=True)
class Said:
    """What one rater said of one sample. `value` None: a note, and no grade."""

    rater: str
    arm: str
    value: str | None
    label: str | None = None  # the answer as the scale words it
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def grades_by_sample(records: TrialRecords) -> dict[str, tuple[Said, ...]]:
    """What people said of each sample; nothing while they may still grade blind.

    A note stands beside its rater's grade, were it written when the text was shown again or without any grade.
    """
    if not records.grades_locked:
        return {}
    found: dict[str, dict[str, Said]] = defaultdict(dict)
    for grade in unblinded_grades(records.folder):
        if grade.rater_kind != MODEL:
            found[grade.sample_id][grade.rater] = Said(
                grade.rater, grade.arm, grade.value, grade.label, grade.reasons
            )
    for note in () if records.texts_left_out else unblinded_notes(records.folder):  # notes may quote
        if note.rater_kind != MODEL and not note.of_pair:
            for sample_id, arm in zip(note.sample_ids, note.arms, strict=True):
                said = found[sample_id].get(note.rater, Said(note.rater, arm, None))
                found[sample_id][note.rater] = replace(said, notes=(*said.notes, note.text))
    return {sample_id: tuple(of_raters.values()) for sample_id, of_raters in found.items()}


def notes_of_pairs(records: TrialRecords) -> tuple[UnblindedNote, ...]:
    """The notes of people on side-by-side choices; none while they may still grade blind."""
    if not records.grades_locked or records.texts_left_out:
        return ()
    notes = unblinded_notes(records.folder)
    return tuple(note for note in notes if note.of_pair and note.rater_kind != MODEL)


def said_of(said: Sequence[Said]) -> str | None:
    """What raters said of one answer: "good", or of several raters "Anna: bad (unfinished, “no end”)"."""
    if not said:
        return None
    named = len({one.rater for one in said}) > 1
    return "; ".join(f"{one_line(one.rater, longest=40)}: {_said(one)}" if named else _said(one) for one in said)


def quoted_note(text: str) -> str:
    """A note as it stands in a report, in quotation marks."""
    return f"“{one_line(text, longest=_LONGEST_NOTE)}”"


def _said(one: Said) -> str:
    word = "not graded" if one.value is None else one.label or _WORDS.get(one.value, one.value)
    why = [*map(_words, one.reasons), *map(quoted_note, one.notes)]
    return f"{word} ({', '.join(why)})" if why else word


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def reasons_by_arm(grades: Mapping[str, Sequence[Said]]) -> dict[str, Counter[str]]:
    """How often each reason was given of each arm's answers, the most frequent reason first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for of_sample in grades.values():
        for grade in of_sample:
            for reason in grade.reasons:
                found[_words(reason)][grade.arm] += 1
    return dict(sorted(found.items(), key=lambda row: (-row[1].total(), row[0])))
