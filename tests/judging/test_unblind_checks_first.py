"""`unblind` cannot be undone, so it looks at key, items, samples and grades before it locks anything."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from finetrial.cli.main import dispatch
from finetrial.judging.grading_session import GradingSession
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> TrialFolder:
    """Outputs of two arms, graded by one person and not locked."""
    root = tmp_path_factory.mktemp("lockable")
    file = root / "outs.jsonl"
    rows = [{"prompt": f"Q{p}", "arm": arm, "text": f"{arm} {p}"} for p in range(3) for arm in ("base", "tuned")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert dispatch(["grade", str(file), "--export", str(root / "page.html")]) == 0
    folder = TrialFolder(root / "runs" / "outs")
    session = GradingSession(folder)
    session.book.join("Anna")
    for n, item in enumerate(session.items):
        session.record({"uid": f"uid-{n:08}", "kind": "grade", "item_id": item, "value": "good"}, rater="Anna")
    session.close()
    return folder


def rewritten(name: str, old: str, new: str) -> Callable[[TrialFolder], None]:
    def change(folder: TrialFolder) -> None:
        path = folder.root / name
        text = path.read_text()
        assert old in text
        path.chmod(0o600)
        path.write_text(text.replace(old, new, 1))

    return change


def in_database(statement: str) -> Callable[[TrialFolder], None]:
    def change(folder: TrialFolder) -> None:
        with sqlite3.connect(folder.grades) as connection:
            for (trigger,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            ).fetchall():
                connection.execute(f"DROP TRIGGER {trigger}")  # as somebody with another program would
            connection.execute(statement)
        connection.close()

    return change


DAMAGE = {
    "the key is gone": lambda folder: folder.key.unlink(),
    "the key is cut off": lambda folder: folder.key.write_text(folder.key.read_text()[:80]),
    "the key holds something else": lambda folder: folder.key.write_text('{"items": [], "pairs": 7}'),
    "the key names another arm": rewritten("key.json", '"base"', '"tuned"'),
    "an item has another text": rewritten("items.jsonl", "tuned 1", "tuned 9"),
    "the items are gone": lambda folder: folder.items.unlink(),
    "a sample has another text": rewritten("samples/tuned.jsonl", "tuned 2", "tuned 9"),
    "a grade is of another text": in_database("UPDATE events SET text_hash = 'x' WHERE seq = 2"),
    "a grade was taken out": in_database("DELETE FROM events WHERE seq = 6"),
    "the database is damaged": lambda folder: folder.grades.write_bytes(b"SQLite format 3\x00" + b"\x07" * 900),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_what_does_not_fit_is_said_before_anything_is_locked(graded, tmp_path, damage, capsys):
    folder = TrialFolder(Path(shutil.copytree(graded.root, tmp_path / "trial")))
    damage(folder)
    before = folder.grades.read_bytes()
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert folder.grades.read_bytes() == before


def test_the_same_folder_undamaged_is_locked(graded, tmp_path):
    folder = TrialFolder(Path(shutil.copytree(graded.root, tmp_path / "trial")))
    assert dispatch(["unblind", str(folder.root), "--yes"]) == 0
    assert grading_state(folder).locked_at is not None
