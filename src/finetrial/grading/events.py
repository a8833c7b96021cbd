"""How does a grade reach the disk, once, before the page moves on?

SQLite with a write-ahead log and synchronous=FULL: a commit returns after the data are on the disk. Rows are only
ever added; triggers refuse changes, and refuse additions once the grades are locked. An event carries a number of
its own (`uid`), so that a retry after a lost answer is the same event.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from finetrial.errors import AnswerIsNo, FinetrialError, UserError
from finetrial.store.grades import DATABASE_VERSION, event_columns, event_of, latest_settings
from finetrial.store.records import GradeEvent, GradingSettings

NAME_LENGTH = 60

_MIGRATIONS = (
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('grade', 'note', 'undo', 'guess')),
        mode TEXT NOT NULL CHECK (mode IN ('single', 'pairs')),
        rater TEXT NOT NULL,
        item_id TEXT, occurrence INTEGER NOT NULL, value TEXT, reasons TEXT, note TEXT, undoes TEXT, side TEXT,
        position INTEGER, shown_ms REAL, client_at TEXT, at TEXT,
        text_hash TEXT NOT NULL, rubric_hash TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL
    );
    CREATE INDEX events_cell ON events (mode, rater, item_id, occurrence);
    CREATE INDEX events_undoes ON events (undoes);
    CREATE TABLE settings (seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, content TEXT NOT NULL);
    CREATE TABLE raters (
        slot INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE, folded TEXT NOT NULL UNIQUE, origin TEXT NOT NULL, stated TEXT NOT NULL,
        at TEXT NOT NULL
    );
    CREATE TABLE log (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT, after_seq INTEGER NOT NULL
    );
    CREATE TABLE address (token TEXT NOT NULL);
    CREATE TRIGGER events_kept BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
    CREATE TRIGGER events_not_removed BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
    CREATE TRIGGER log_kept BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is never changed'); END;
    CREATE TRIGGER log_not_removed BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is never cut'); END;
    CREATE TRIGGER events_locked BEFORE INSERT ON events
        WHEN EXISTS (SELECT 1 FROM log WHERE kind = 'lock') BEGIN SELECT RAISE(ABORT, 'locked'); END;
    """,
)
assert len(_MIGRATIONS) == DATABASE_VERSION


class GradesLocked(AnswerIsNo):
    """The key has been opened; no grade can be added."""


class NotWritten(FinetrialError):
    """The disk did not take the event: full, broken or gone. The same event may be sent again."""


@dataclass(frozen=True, slots=True)
class Rater:
    """A rater and the number by which prompts are dealt, from 0."""

    name: str
    slot: int


@dataclass(frozen=True, slots=True)
class CellState:
    """What stands for one item (or pair) of one rater after all events so far. None: open."""

    item_id: str
    occurrence: int
    value: str | None
    reasons: tuple[str, ...]
    note: str | None
    guess: str | None


def now() -> str:
    """The time as records keep it. Order never depends on it: clocks jump."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def clean_name(name: str) -> str:
    """A rater's name as it is kept. Raises UserError for an empty, overlong or unprintable one."""
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned or len(cleaned) > NAME_LENGTH or not cleaned.isprintable():
        raise UserError(
            "a rater needs a name", got=repr(name[:80]), expected=f"1 to {NAME_LENGTH} printable characters"
        )
    return cleaned


class GradeBook:
    """The one writer's view of grades.sqlite; several processes may hold one each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._explained(error) from None

    def close(self) -> None:
        """Close the database; SQLite folds the write-ahead log into it."""
        self._connection.close()

    def _migrate(self) -> None:
        done = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if done > DATABASE_VERSION:
            raise UserError(f"{self._path} was written by a newer finetrial", fix="pip install --upgrade finetrial")
        for number, script in enumerate(_MIGRATIONS[done:], start=done + 1):
            try:
                self._connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
            except sqlite3.OperationalError:  # another process made the same tables a moment ago
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if self._connection.execute("PRAGMA user_version").fetchone()[0] < number:
                    raise

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        if "locked" in str(error) and isinstance(error, sqlite3.IntegrityError):
            return GradesLocked("the grades are locked", fix="The key has been opened; this grade cannot be added.")
        if isinstance(error, sqlite3.IntegrityError):
            return error
        if "not a database" in str(error) or "malformed" in str(error):
            return UserError(f"{self._path} is not a database of grades", got=str(error))
        full = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
        what = "the disk is full" if full else "the disk did not take the grade"
        return NotWritten(what, got=str(error), fix="Free some space; the grade is kept until it can be written.")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None

    # settings, raters, the log

    def settings(self) -> GradingSettings | None:
        """What was fixed before anybody graded."""
        return latest_settings(self._connection)

    def fix_settings(self, settings: GradingSettings) -> None:
        """Put settings in force. The same settings again change nothing; others are refused once locked."""
        if self.settings() == settings:
            return
        if self.locked_at() is not None:
            raise GradesLocked(
                "the grades are locked and the samples they belong to have changed",
                fix="Run the changed trial in another folder (--out).",
            )
        content = json.dumps(dataclasses.asdict(settings), ensure_ascii=False, sort_keys=True)
        with self._transaction() as connection:
            connection.execute("INSERT INTO settings (at, content) VALUES (?, ?)", (now(), content))

    def token(self) -> str:
        """The secret of the page's address, made once, so that an open page survives a restart."""
        with self._transaction() as connection:
            row = connection.execute("SELECT token FROM address").fetchone()
            if row is None:
                row = (secrets.token_urlsafe(18),)
                connection.execute("INSERT INTO address VALUES (?)", row)
        return row[0]

    def raters(self) -> tuple[Rater, ...]:
        """Everybody who has joined, in the order of joining."""
        rows = self._connection.execute("SELECT name FROM raters ORDER BY slot").fetchall()
        return tuple(Rater(row[0], slot) for slot, row in enumerate(rows))

    def find_rater(self, name: str) -> Rater | None:
        """The rater of that exact name, or None."""
        return next((rater for rater in self.raters() if rater.name == name), None)

    def join(self, name: str, *, origin: str = "page") -> Rater:
        """The rater of that name, new or known; upper and lower case are one.

        A name from another origin (a bundle that somebody else was given) that is taken becomes `name (2)`.
        """
        stated = clean_name(name)
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT name FROM raters WHERE origin = ? AND stated = ?", (origin, stated.casefold())
            ).fetchone()
            if row is None:
                taken = {r[0] for r in connection.execute("SELECT folded FROM raters")}
                chosen, number = stated, 2
                while chosen.casefold() in taken:
                    chosen, number = f"{stated} ({number})", number + 1
                connection.execute(
                    "INSERT INTO raters (name, folded, origin, stated, at) VALUES (?, ?, ?, ?, ?)",
                    (chosen, chosen.casefold(), origin, stated.casefold(), now()),
                )
                row = (chosen,)
        found = self.find_rater(row[0])
        assert found is not None
        return found

    def locked_at(self) -> str | None:
        """When the grades were locked; None while they can be added."""
        return self._connection.execute("SELECT min(at) FROM log WHERE kind = 'lock'").fetchone()[0]

    def write_log(self, kind: str, detail: str) -> None:
        """Add a line to the log: lock, export, import."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO log (at, kind, detail, after_seq) SELECT ?, ?, ?, coalesce(max(seq), 0) FROM events",
                (now(), kind, detail),
            )

    def lock(self) -> bool:
        """Lock the grades for good. False when they were locked before."""
        if self.locked_at() is not None:
            return False
        self.write_log("lock", "the grades are locked and the key may be read")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return True

    # events

    def append(self, event: GradeEvent) -> bool:
        """Put one event on the disk; an undo names here what it undoes. False: it stood there already.

        Raises GradesLocked, or NotWritten when the disk did not take it (nothing was written then).
        """
        return self.append_all([event]) == 1

    def append_all(self, events: Iterable[GradeEvent]) -> int:
        """Put events on the disk, all or none. Returns how many were new."""
        added = 0
        with self._transaction() as connection:
            for event in events:
                if connection.execute("SELECT 1 FROM events WHERE uid = ?", (event.uid,)).fetchone():
                    continue
                if event.kind == "undo" and event.undoes is None:
                    event = self._aimed(event)
                row = list(dataclasses.astuple(event))
                row[7] = json.dumps(row[7]) if row[7] else None
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO events ({event_columns()}) VALUES ({marks})", row)
                added += 1
        return added

    def _aimed(self, undo: GradeEvent) -> GradeEvent:
        """The undo with its target: the rater's latest grade or note in this mode that still counts."""
        row = self._connection.execute(
            "SELECT uid, item_id, occurrence FROM events AS e WHERE rater = ? AND mode = ? "
            "AND kind IN ('grade', 'note') AND NOT EXISTS (SELECT 1 FROM events WHERE undoes = e.uid) "
            "ORDER BY seq DESC LIMIT 1",
            (undo.rater, undo.mode),
        ).fetchone()
        if row is None:
            return undo
        return dataclasses.replace(undo, undoes=row[0], item_id=row[1], occurrence=row[2])

    def last_seq(self) -> int:
        """The number of the latest event, 0 before the first."""
        return self._connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]

    def find(self, uid: str) -> GradeEvent | None:
        """The event with that uid."""
        row = self._connection.execute(f"SELECT {event_columns()} FROM events WHERE uid = ?", (uid,)).fetchone()
        return None if row is None else event_of(row)

    def cells(self, rater: str, *, mode: str, after_seq: int = 0) -> tuple[CellState, ...]:
        """The state of every cell of a rater that an event after `after_seq` touched."""
        states: dict[tuple[str, int], dict[str, GradeEvent | None]] = {}
        rows = self._connection.execute(
            f"SELECT {event_columns()} FROM events AS e WHERE rater = ? AND mode = ? AND item_id IS NOT NULL "
            "AND (? = 0 OR EXISTS (SELECT 1 FROM events AS t WHERE t.mode = e.mode AND t.rater = e.rater "
            "AND t.item_id = e.item_id AND t.occurrence = e.occurrence AND t.seq > ?)) ORDER BY seq",
            (rater, mode, after_seq, after_seq),
        ).fetchall()
        events = [event_of(row) for row in rows]
        undone = {event.undoes for event in events if event.kind == "undo"}
        for event in events:
            state = states.setdefault((event.item_id or "", event.occurrence), {})
            if event.kind != "undo" and event.uid not in undone:
                state[event.kind] = event
        return tuple(
            CellState(
                item_id=item_id,
                occurrence=occurrence,
                value=grade.value if (grade := state.get("grade")) else None,
                reasons=grade.reasons if grade else (),
                note=(note.note or None) if (note := state.get("note")) else None,
                guess=guess.value if (guess := state.get("guess")) else None,
            )
            for (item_id, occurrence), state in states.items()
        )
