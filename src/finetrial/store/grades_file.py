"""Open grades.sqlite to read it wherever it lies, and say in one sentence why it cannot be read or written.

What SQLite finds wrong with the file is one error that names the file; the file itself is left as it is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from finetrial.errors import FinetrialError, UserError

DATABASE_VERSION = 3
_COLUMNS = (
    "uid, kind, mode, rater, item_id, occurrence, value, reasons, note, undoes, side, position, shown_ms, "
    "client_at, at, text_hash, rubric_hash, version, source"
)
_SINCE_VERSION_2 = ", rater_kind, label"
BUSY_SECONDS = 5.0  # assumption: whoever holds the database for longer than this is not coming back soon


class NotWritten(FinetrialError):
    """The disk did not take the event: full, broken, read-only or gone. The same event may be sent again."""


def event_columns(*, version: int = DATABASE_VERSION) -> str:
    """The columns of an event, in the order of GradeEvent's fields; what an older database lacks reads as NULL."""
    return _COLUMNS + (_SINCE_VERSION_2 if version >= 2 else ", NULL, NULL")


def version_of(connection: sqlite3.Connection) -> int:
    """The version of an open database's tables."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def damaged(path: Path, *, got: object) -> UserError:
    """The error for a database that SQLite cannot make sense of."""
    return UserError(
        f"{path} is damaged",
        got=got,
        expected="a database of grades",
        fix="It was left as it is. Restore it from a copy (grades.sqlite, and grades.sqlite-wal where there is "
        "one); `sqlite3 grades.sqlite .recover` prints what can still be read. If nobody has graded yet, remove "
        "it.",
    )


def explained(error: sqlite3.DatabaseError, *, path: Path) -> FinetrialError:
    """What went wrong with the database, in the user's terms: UserError where it is damaged, else NotWritten."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the primary code; the rest is detail
    if code == sqlite3.SQLITE_FULL:
        return NotWritten(
            "the disk is full", got=str(error), fix="Free some space; the grade is kept until it can be written."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return NotWritten(
            f"{path.parent} cannot be written by this user",
            got=str(error),
            fix="Grades are written there: make the folder and grades.sqlite writable, or copy the trial folder to "
            "a place that is.",
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return NotWritten(
            f"another program holds {path}", got=str(error), fix="Close it; the grade is kept until then."
        )
    if code == sqlite3.SQLITE_IOERR:
        return NotWritten(
            "the disk did not take the grade",
            got=str(error),
            fix="See whether the disk is full or failing; the grade is kept until it can be written.",
        )
    return damaged(path, got=str(error))


def _quoted(path: Path) -> str:
    return str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that only reads; on a medium that cannot be written the file is read as it stands."""
    connection = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        # Read as it stands, the file would lack the grades that are still in the log.
        raise UserError(
            f"the latest grades cannot be read: they stand in {log.name}, and {path.parent} cannot be written",
            fix=f"Copy {path.name} and {log.name} together into a folder of your own and read them there.",
        )
    return sqlite3.connect(f"file:{_quoted(path)}?mode=ro&immutable=1", uri=True)


def _check_sound(connection: sqlite3.Connection, *, path: Path) -> None:
    found = version_of(connection)
    if found > DATABASE_VERSION:
        raise UserError(
            f"{path} was written by a newer finetrial",
            got=f"version {found}",
            expected=f"at most {DATABASE_VERSION}",
            fix="pip install --upgrade finetrial",
        )
    faults = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    if faults != ["ok"]:
        raise damaged(path, got=faults[0].replace("\n", " ") if faults else "nothing")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if missing := {"events", "settings", "raters", "log"} - tables:
        raise damaged(path, got=f"a database without the table {min(missing)}")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads a sound database; what cannot be read in the block is damage, too."""
    if not path.is_file():
        raise damaged(path, got="a folder" if path.is_dir() else "no file")
    if not path.stat().st_size:
        raise damaged(path, got="an empty file")
    connection = None
    try:
        connection = _connected(path)
        _check_sound(connection, path=path)
        yield connection
    except sqlite3.DatabaseError as error:
        fault = explained(error, path=path)
        raise (
            fault if isinstance(fault, UserError) else UserError(f"{path} cannot be read", got=str(error))
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read", got=error.strerror or str(error)) from None
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # a cell holds what was never written into it
        raise damaged(path, got=f"{type(error).__name__}: {error}") from None
    finally:
        if connection is not None:
            connection.close()


def write_log(path: Path, *, kind: str, detail: str, at: str) -> None:
    """Add a line to the log of a database that another process may be serving."""
    with reading(path):
        pass  # a damaged database is not written to
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    try:
        with connection:
            connection.execute(
                "INSERT INTO log (at, kind, detail, after_seq) SELECT ?, ?, ?, coalesce(max(seq), 0) FROM events",
                (at, kind, detail),
            )
    except sqlite3.DatabaseError as error:
        raise explained(error, path=path) from None
    finally:
        connection.close()
