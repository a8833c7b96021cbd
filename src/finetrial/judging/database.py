"""Keep the database of grades: its tables, what it refuses, and that a commit means "on the disk".

SQLite with a write-ahead log and synchronous=FULL: a commit returns after the data are on the disk. Triggers refuse
changes to what was written, and additions once the grades are locked. The file is its owner's alone, as the key is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetrial.errors import AnswerIsNo, UserError
from finetrial.store.grades import events_of, latest_settings
from finetrial.store.grades_file import (
    BUSY_SECONDS,
    DATABASE_VERSION,
    NotWritten,
    explained,
    reading,
    version_of,
)

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
    # What a rater declared to be, the answer as the scale words it, and whose link was begun in which browser.
    """
    ALTER TABLE events ADD COLUMN rater_kind TEXT CHECK (rater_kind IN ('person', 'stand-in'));
    ALTER TABLE events ADD COLUMN label TEXT;
    CREATE TABLE declarations (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        rater TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('person', 'stand-in')), at TEXT NOT NULL
    );
    CREATE TABLE browsers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        rater TEXT NOT NULL, browser TEXT, at TEXT NOT NULL
    );
    CREATE TABLE secret (secret TEXT NOT NULL);
    """,
    # A rater may be a model. SQLite cannot change a check, so the two tables that have one are made anew; dropping
    # a table fires none of the triggers that keep its rows.
    """
    CREATE TABLE events_3 (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        uid TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL CHECK (kind IN ('grade', 'note', 'undo', 'guess')),
        mode TEXT NOT NULL CHECK (mode IN ('single', 'pairs')),
        rater TEXT NOT NULL,
        item_id TEXT, occurrence INTEGER NOT NULL, value TEXT, reasons TEXT, note TEXT, undoes TEXT, side TEXT,
        position INTEGER, shown_ms REAL, client_at TEXT, at TEXT,
        text_hash TEXT NOT NULL, rubric_hash TEXT NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL,
        rater_kind TEXT CHECK (rater_kind IN ('person', 'stand-in', 'model')),
        label TEXT
    );
    INSERT INTO events_3 SELECT * FROM events;
    DROP TABLE events;
    ALTER TABLE events_3 RENAME TO events;
    CREATE INDEX events_cell ON events (mode, rater, item_id, occurrence);
    CREATE INDEX events_undoes ON events (undoes);
    CREATE TRIGGER events_kept BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
    CREATE TRIGGER events_not_removed BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
    CREATE TRIGGER events_locked BEFORE INSERT ON events
        WHEN EXISTS (SELECT 1 FROM log WHERE kind = 'lock') BEGIN SELECT RAISE(ABORT, 'locked'); END;
    CREATE TABLE declarations_3 (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        rater TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('person', 'stand-in', 'model')), at TEXT NOT NULL
    );
    INSERT INTO declarations_3 SELECT * FROM declarations;
    DROP TABLE declarations;
    ALTER TABLE declarations_3 RENAME TO declarations;
    """,
)
assert len(_MIGRATIONS) == DATABASE_VERSION

__all__ = ["Database", "GradesLocked", "NotWritten"]


class GradesLocked(AnswerIsNo):
    """The key has been opened; no grade can be added."""


def _migrate(connection: sqlite3.Connection) -> None:
    for number in range(version_of(connection) + 1, DATABASE_VERSION + 1):
        script = _MIGRATIONS[number - 1]
        try:
            connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
        except sqlite3.OperationalError:  # another process made the same tables a moment ago
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if version_of(connection) < number:
                raise


def _create(path: Path) -> None:
    """Make an empty database, whole or not at all: a file cut short is never one that we began."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            _migrate(connection)
        finally:
            connection.close()
        try:
            os.link(temporary, path)  # unlike a rename it never takes the place of another process's database
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not path.exists():
                temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, *, got: str | None) -> UserError:
    return UserError(
        f"{path.parent} cannot be written by this user",
        got=got,
        fix="Grades are written there: make the folder writable, or copy the trial folder to a place that is.",
    )


class Database:
    """One connection to grades.sqlite; several processes may hold one each."""

    def __init__(self, path: Path) -> None:
        """Open the database, made where there is none. Raises UserError where it is damaged or read-only."""
        self._path = path
        try:
            if not path.exists():
                _create(path)
        except OSError as error:
            raise _cannot_write(path, got=error.strerror) from None
        except sqlite3.DatabaseError as error:
            raise self._refused(error) from None
        with reading(path) as connection:  # a damaged database is named before anything is written to it
            events_of(connection)
            latest_settings(connection)
        if not os.access(path, os.W_OK):  # SQLite would open it to read, and say so at the first grade
            raise _cannot_write(path, got=f"{path.name} is read-only")
        for own in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            with contextlib.suppress(OSError):  # another user's file, or none
                own.chmod(0o600)
        self.connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")
            _migrate(self.connection)
            self.connection.execute("BEGIN IMMEDIATE")  # fails where nothing can be written
            self.connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            self.connection.close()
            raise self._refused(error) from None

    def close(self) -> None:
        """Close the database; SQLite folds the write-ahead log into it."""
        self.connection.close()

    def _refused(self, error: sqlite3.DatabaseError) -> UserError:
        """Why the database cannot be opened; there is no grade yet that could wait."""
        fault = explained(error, path=self._path)
        if isinstance(fault, UserError):
            return fault
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return _cannot_write(self._path, got=fault.got)
        return UserError(f"{self._path} cannot be opened: {fault.what}", got=fault.got)

    def _explained(self, error: sqlite3.DatabaseError) -> Exception:
        if "locked" in str(error) and isinstance(error, sqlite3.IntegrityError):
            return GradesLocked("the grades are locked", fix="The key has been opened; this grade cannot be added.")
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            return error
        return explained(error, path=self._path)

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
