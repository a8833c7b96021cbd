"""Chain the hashes of grade events, so that one hash stands for all of them and their order.

Each link is the hash of the link before it and one event with its number. An event that is changed, taken out, put
in or moved gives another head.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.store.grades_file import event_columns, reading, version_of
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder

START = ""  # the link before the first event


@dataclass(frozen=True, slots=True)
class GradeChain:
    """What grading left in the database, as hashes and times."""

    events: int
    head: str
    settings: str | None  # the hash of those in force; None: nothing was set aside
    locked_at: str | None
    opened_after: int | None  # the number of the last event before somebody opened the key early


def read_chain(folder: TrialFolder) -> GradeChain | None:
    """The chain over all events; None where there is no database of grades."""
    if not folder.grades.exists():
        return None
    with reading(folder.grades) as connection:
        columns = event_columns(version=version_of(connection))
        rows = connection.execute(f"SELECT seq, {columns} FROM events ORDER BY seq").fetchall()
        settings = connection.execute("SELECT content FROM settings ORDER BY seq DESC LIMIT 1").fetchone()
        locked = connection.execute("SELECT min(at) FROM log WHERE kind = 'lock'").fetchone()[0]
        opened = connection.execute("SELECT min(after_seq) FROM log WHERE kind = 'open'").fetchone()[0]
    head = START
    for row in rows:
        head = hash_value([head, *row])
    return GradeChain(len(rows), head, None if settings is None else hash_value(settings[0]), locked, opened)
