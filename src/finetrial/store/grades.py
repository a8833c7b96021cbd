"""What have raters judged so far?

grades.sqlite holds events in the order they reached the disk; the latest grade of a rater for an item that was not
undone counts. Order is the row's number, never a clock. Nothing here knows an arm; `store.grade_key` joins the key.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Grade, GradeEvent, GradingSettings, Guess, PairGrade

DATABASE_VERSION = 1
GRADE_VALUES = ("good", "bad", "unsure")
PAIR_VALUES = ("first", "second", "tie")
# The failures named beside the published transcripts that finetrial reproduces, in the order of the keys 1 to 6.
REASONS = ("false", "copied", "repeats", "off_task", "unfinished", "disfluent")

# (mode, rater, item or pair, occurrence)
Cell = tuple[str, str, str, int]

_COLUMNS = (
    "uid, kind, mode, rater, item_id, occurrence, value, reasons, note, undoes, side, position, shown_ms, "
    "client_at, at, text_hash, rubric_hash, version, source"
)


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


def rubric_hash(criterion: str | None) -> str:
    """What stood on the page when a grade was given: the criterion and the answers offered."""
    return hash_value({"criterion": criterion, "values": GRADE_VALUES, "pairs": PAIR_VALUES, "reasons": REASONS})


def text_hash(text: str) -> str:
    """The hash of a graded text, kept with its grade."""
    return hash_value(text)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. On a medium that cannot be written the file is read as it stands."""
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=5)
    try:
        try:
            connection.execute("SELECT 1 FROM events LIMIT 1")
        except sqlite3.OperationalError:
            connection.close()
            connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro&immutable=1", uri=True)
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > DATABASE_VERSION:
            raise UserError(
                f"{path} was written by a newer finetrial",
                got=f"version {found}",
                expected=f"at most {DATABASE_VERSION}",
                fix="pip install --upgrade finetrial",
            )
        yield connection
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} is not a database of grades", got=str(error)) from None
    finally:
        connection.close()


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def event_of(row: Iterable[Any]) -> GradeEvent:
    """The event of a row that holds `event_columns`."""
    values = list(row)
    values[7] = tuple(json.loads(values[7])) if values[7] else ()
    return GradeEvent(*values)


def event_columns() -> str:
    """The columns of an event, in the order of GradeEvent's fields."""
    return _COLUMNS


def latest_settings(connection: sqlite3.Connection) -> GradingSettings | None:
    """The settings that are in force."""
    row = connection.execute("SELECT content FROM settings ORDER BY seq DESC LIMIT 1").fetchone()
    if row is None:
        return None
    content = json.loads(row[0])
    return GradingSettings(**{**content, "arms": tuple(content["arms"])})


def grading_state(folder: TrialFolder) -> GradingState:
    """Has grading begun, and is it locked?"""
    if not folder.grades.exists():
        return GradingState(None, (), None, None, 0)
    with reading(folder.grades) as connection:
        log = dict(connection.execute("SELECT kind, min(at) FROM log GROUP BY kind").fetchall())
        raters = tuple(row[0] for row in connection.execute("SELECT name FROM raters ORDER BY slot"))
        events = connection.execute("SELECT count(*) FROM events").fetchone()[0]
        return GradingState(latest_settings(connection), raters, log.get("lock"), log.get("open"), events)


def read_events(folder: TrialFolder) -> tuple[tuple[int, GradeEvent], ...]:
    """All events with their numbers, oldest first; empty where nobody has graded."""
    if not folder.grades.exists():
        return ()
    with reading(folder.grades) as connection:
        rows = connection.execute(f"SELECT seq, {_COLUMNS} FROM events ORDER BY seq").fetchall()
    return tuple((row[0], event_of(row[1:])) for row in rows)


def _opened_after(folder: TrialFolder) -> int | None:
    """The number of the last event before somebody opened the key early; None: nobody did."""
    if not folder.grades.exists():
        return None
    with reading(folder.grades) as connection:
        return connection.execute("SELECT min(after_seq) FROM log WHERE kind = 'open'").fetchone()[0]


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
            value=event.value,  # type: ignore[arg-type]
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
            value=event.value,  # type: ignore[arg-type]
            left=event.left,
            note=notes.get(cell),
            seconds=_seconds(event),
            position=event.position,
            at=event.at,
            rubric_hash=event.rubric_hash,
            version=event.version,
            blind=opened_after is None or seq <= opened_after,
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


def median_seconds(grades: Iterable[Grade]) -> float | None:
    """The median time on screen of a grade; None when no grade says."""
    seconds = [g.seconds for g in grades if g.seconds is not None]
    return statistics.median(seconds) if seconds else None
