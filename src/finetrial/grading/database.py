"""What does the database of grades refuse, and how is it opened so that a commit means "on the disk"?

SQLite with a write-ahead log and synchronous=FULL: a commit returns after the data are on the disk. Triggers refuse
changes to what was written, and additions once the grades are locked.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetrial.errors import AnswerIsNo, FinetrialError, UserError
from finetrial.store.grades import DATABASE_VERSION

# Append-only: a released script is never edited, a new one brings the next version.
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


class Database:
    """One connection to grades.sqlite; several processes may hold one each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            self._migrate()
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise self._explained(error) from None

    def close(self) -> None:
        """Close the database; SQLite folds the write-ahead log into it."""
        self.connection.close()

    def _migrate(self) -> None:
        done = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if done > DATABASE_VERSION:
            raise UserError(f"{self._path} was written by a newer finetrial", fix="pip install --upgrade finetrial")
        for number, script in enumerate(_MIGRATIONS[done:], start=done + 1):
            try:
                self.connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
            except sqlite3.OperationalError:  # another process made the same tables a moment ago
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                if self.connection.execute("PRAGMA user_version").fetchone()[0] < number:
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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise self._explained(error) from None
