"""Read what raters have judged so far.

grades.sqlite holds events in the order they reached the disk; the latest grade of a rater for an item that was not
undone counts. Order is the row's number, never a clock. Nothing here knows an arm; `store.grade_key` joins the key.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from finetrial.store.grade_records import (
    Grade,
    GradeEvent,
    GradeScale,
    GradeValue,
    GradingSettings,
    Guess,
    PairGrade,
    PairValue,
)
from finetrial.store.grades_file import event_columns, reading, version_of
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.records import adapter_of

GRADE_VALUES = ("good", "bad", "unsure")
PAIR_VALUES = ("first", "second", "tie")
# The failures named beside the published transcripts that finetrial reproduces, in the order of the keys 1 to 6.
REASONS = ("false", "copied", "repeats", "off_task", "unfinished", "disfluent")

# Reading runs at about four words a second (Brysbaert 2019, 238 a minute): under a second is no sentence.
FAST_SECONDS = 1.0
FEWEST_TIMED = 5  # assumption: the median of fewer grades says little

# (mode, rater, item or pair, occurrence)
Cell = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class GradingState:
    """Where the grading of a trial stands. Times are UTC; None: has not happened."""

    settings: GradingSettings | None  # None: nothing was blinded for grading
    raters: tuple[str, ...]
    locked_at: str | None  # the key is open and no grade can be added
    opened_at: str | None  # somebody looked at the key while grades could still be given
    events: int


@dataclass(frozen=True, slots=True)
class Consistency:
    """How often a rater gave a hidden repeat the grade of the first showing."""

    rater: str
    same: int
    of: int


@dataclass(frozen=True, slots=True)
class TooFast:
    """A rater who cannot have read what was graded: the median of the seconds on screen."""

    rater: str
    median_seconds: float


def rubric_hash(criterion: str | None, *, scale: GradeScale | None = None) -> str:
    """What stood on the page when a grade was given: the criterion and the answers offered."""
    rubric: dict[str, object] = {
        "criterion": criterion,
        "values": GRADE_VALUES,
        "pairs": PAIR_VALUES,
        "reasons": REASONS,
    }
    if scale is not None:
        rubric["scale"] = {"labels": scale.labels, "good": scale.good}
    return hash_value(rubric)


def text_hash(text: str) -> str:
    """The hash of a graded text, kept with its grade."""
    return hash_value(text)


def event_of(row: Iterable[Any]) -> GradeEvent:
    """The event of a row that holds `event_columns`."""
    values = list(row)
    values[7] = tuple(json.loads(values[7])) if values[7] else ()
    return GradeEvent(*values)


def latest_settings(connection: sqlite3.Connection) -> GradingSettings | None:
    """The settings that are in force."""
    row = connection.execute("SELECT content FROM settings ORDER BY seq DESC LIMIT 1").fetchone()
    if row is None:
        return None
    return adapter_of(GradingSettings).validate_json(row[0])


def grading_state(folder: TrialFolder) -> GradingState:
    """Whether grading has begun, and whether it is locked. Every event is read, so that a damaged one is found."""
    if not folder.grades.exists():
        return GradingState(None, (), None, None, 0)
    with reading(folder.grades) as connection:
        log = dict(connection.execute("SELECT kind, min(at) FROM log GROUP BY kind").fetchall())
        raters = tuple(
            row[0] for row in connection.execute("SELECT name FROM raters WHERE origin <> 'model' ORDER BY slot")
        )
        events = len(events_of(connection))
        return GradingState(latest_settings(connection), raters, log.get("lock"), log.get("open"), events)


def read_events(folder: TrialFolder) -> tuple[tuple[int, GradeEvent], ...]:
    """All events with their numbers, oldest first; empty where nobody has graded."""
    if not folder.grades.exists():
        return ()
    with reading(folder.grades) as connection:
        return events_of(connection)


def events_of(connection: sqlite3.Connection) -> tuple[tuple[int, GradeEvent], ...]:
    """All events of an open database with their numbers. Raises ValueError or TypeError for one that never was."""
    columns = event_columns(version=version_of(connection))
    rows = connection.execute(f"SELECT seq, {columns} FROM events ORDER BY seq").fetchall()
    return tuple((row[0], _checked(event_of(row[1:]))) for row in rows)


def _checked(event: GradeEvent) -> GradeEvent:
    """The event, if it is one that was ever written. Raises ValueError, which is damage to whoever reads."""
    allowed = PAIR_VALUES if event.mode == "pairs" else GRADE_VALUES
    if event.kind == "grade" and event.value not in allowed:
        raise ValueError(f"the grade {event.value!r} of event {event.uid!r}")
    return event


def _opened_after(folder: TrialFolder) -> int | None:
    """The number of the last event before somebody opened the key early; None: nobody did."""
    if not folder.grades.exists():
        return None
    with reading(folder.grades) as connection:
        row = connection.execute("SELECT min(after_seq) FROM log WHERE kind = 'open'").fetchone()
        return None if row[0] is None else int(row[0])


def counting(
    events: Iterable[tuple[int, GradeEvent]], *, kind: str, mode: str
) -> dict[Cell, tuple[int, GradeEvent]]:
    """For each cell the latest event of a kind that was not undone."""
    rows = list(events)
    undone = {(event.rater, event.undoes) for _, event in rows if event.kind == "undo"}
    latest: dict[Cell, tuple[int, GradeEvent]] = {}
    for seq, event in rows:
        if event.kind == kind and event.mode == mode and event.item_id and (event.rater, event.uid) not in undone:
            cell = (event.mode, event.rater, event.item_id, event.occurrence)
            if cell not in latest or latest[cell][0] < seq:
                latest[cell] = (seq, event)
    return latest


def _notes(events: Iterable[tuple[int, GradeEvent]], *, mode: str) -> dict[Cell, str | None]:
    return {cell: event.note or None for cell, (_, event) in counting(events, kind="note", mode=mode).items()}


def _seconds(event: GradeEvent) -> float | None:
    return None if event.shown_ms is None else event.shown_ms / 1000


def read_grades(folder: TrialFolder) -> tuple[Grade, ...]:
    """The grades that count, in the order they were given; hidden repeats are among them and say so."""
    events, opened_after = read_events(folder), _opened_after(folder)
    notes = _notes(events, mode="single")
    counted = counting(events, kind="grade", mode="single").items()
    return tuple(
        Grade(
            item_id=cell[2],
            rater=event.rater,
            value=cast(GradeValue, event.value),  # checked when it was read
            reasons=event.reasons,
            note=notes.get(cell),
            seconds=_seconds(event),
            position=event.position,
            repeat=event.occurrence > 1,
            at=event.at,
            text_hash=event.text_hash,
            rubric_hash=event.rubric_hash,
            version=event.version,
            blind=opened_after is None or seq <= opened_after,
            rater_kind=event.rater_kind,
            label=event.label,
        )
        for cell, (seq, event) in sorted(counted, key=lambda entry: entry[1][0])
    )


def read_pair_grades(folder: TrialFolder) -> tuple[PairGrade, ...]:
    """The side-by-side choices that count, in the order they were made."""
    events, opened_after = read_events(folder), _opened_after(folder)
    notes = _notes(events, mode="pairs")
    counted = counting(events, kind="grade", mode="pairs").items()
    return tuple(
        PairGrade(
            pair_id=cell[2],
            rater=event.rater,
            value=cast(PairValue, event.value),
            left=event.left,
            note=notes.get(cell),
            seconds=_seconds(event),
            position=event.position,
            at=event.at,
            rubric_hash=event.rubric_hash,
            version=event.version,
            blind=opened_after is None or seq <= opened_after,
            rater_kind=event.rater_kind,
        )
        for cell, (seq, event) in sorted(counted, key=lambda entry: entry[1][0])
    )


def read_guesses(folder: TrialFolder) -> tuple[Guess, ...]:
    """Which arm each rater believes wrote which item."""
    guesses = counting(read_events(folder), kind="guess", mode="single").values()
    return tuple(Guess(e.item_id, e.rater, e.value) for _, e in guesses if e.item_id and e.value)


def consistency(grades: Iterable[Grade]) -> tuple[Consistency, ...]:
    """Each rater's agreement with themselves on hidden repeats; raters without repeats are left out."""
    rows = list(grades)
    first = {(g.rater, g.item_id): g.value for g in rows if not g.repeat}
    seen: dict[str, list[bool]] = {}
    for grade in rows:
        if grade.repeat and (grade.rater, grade.item_id) in first:
            seen.setdefault(grade.rater, []).append(first[grade.rater, grade.item_id] == grade.value)
    return tuple(Consistency(rater, sum(same), len(same)) for rater, same in sorted(seen.items()))


def too_fast(grades: Iterable[Grade]) -> tuple[TooFast, ...]:
    """The raters whose median time on screen is under a second: nobody reads a text in that time."""
    seconds: dict[str, list[float]] = {}
    for grade in grades:
        if grade.seconds is not None:
            seconds.setdefault(grade.rater, []).append(grade.seconds)
    medians = {rater: statistics.median(row) for rater, row in seconds.items() if len(row) >= FEWEST_TIMED}
    return tuple(TooFast(rater, m) for rater, m in sorted(medians.items()) if m < FAST_SECONDS)


def median_seconds(grades: Iterable[Grade]) -> float | None:
    """The median time on screen of a grade; None when no grade says."""
    seconds = [g.seconds for g in grades if g.seconds is not None]
    return statistics.median(seconds) if seconds else None
