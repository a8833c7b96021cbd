"""Take the texts out of a copy of a trial's records, for a bundle of private data.

Samples, items and examples get stand-ins, examples of the data check and columns of the data go, and so do the raw
questions and answers of judges and servers. Raters' notes, which may quote, are taken out of the grades.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetrial.reporting.left_out_texts import sample_without_texts, stand_in
from finetrial.store.files import atomic_text
from finetrial.store.grade_chain import read_chain
from finetrial.store.hashes import hash_file
from finetrial.store.layout import TrialFolder
from finetrial.store.left_out import CHAIN, write_left_out
from finetrial.store.records import DiagnosticRow, Item, Sample, read_rows, write_rows


def take_texts_out(folder: TrialFolder) -> None:
    """Change a copy of a trial's folder, and record the hashes that its files had."""
    changed = [*sorted((folder.root / "samples").glob("*.jsonl")), folder.items, folder.diagnostics, folder.data]
    gone = [folder.columns, *folder.root.glob("judges/*"), *folder.root.glob("served/*")]
    hashes = {_name(folder, path): hash_file(path) for path in (*changed, *gone) if path.is_file()}
    hashes |= _without_notes(folder)
    for path in gone:
        path.unlink(missing_ok=True)
    for name in ("judges", "served"):
        shutil.rmtree(folder.root / name, ignore_errors=True)
    for path in changed:
        if path.is_file():
            _rewrite(folder, path)
    write_left_out(folder, hashes)


def _name(folder: TrialFolder, path: Path) -> str:
    return path.relative_to(folder.root).as_posix()


def _rewrite(folder: TrialFolder, path: Path) -> None:
    rows: Sequence[Any]
    if path == folder.data:
        atomic_text(path, json.dumps(_without_examples(json.loads(path.read_text(encoding="utf-8")))))
        return
    if path == folder.items:
        items = read_rows(path, Item)
        rows = [replace(row, prompt=stand_in(row.prompt), text=stand_in(row.text), turns=None) for row in items]
    elif path == folder.diagnostics:
        found = read_rows(path, DiagnosticRow)
        rows = [
            replace(row, examples=tuple((a, b, stand_in(text)) for a, b, text in row.examples)) for row in found
        ]
    else:
        rows = [sample_without_texts(row) for row in read_rows(path, Sample)]
    write_rows(path, rows)


def _without_examples(value: Any) -> Any:
    """The findings of the data check without the rows that they show."""
    if isinstance(value, dict):
        return {key: [] if key == "examples" else _without_examples(item) for key, item in value.items()}
    return [_without_examples(item) for item in value] if isinstance(value, list) else value


def _without_notes(folder: TrialFolder) -> dict[str, str]:
    """Take notes out of the events. Returns the head of the chain as it was, where there were any."""
    if not folder.grades.is_file():
        return {}
    chain = read_chain(folder)
    with closing(sqlite3.connect(folder.grades)) as connection:
        if not connection.execute("SELECT count(*) FROM events WHERE note IS NOT NULL AND note != ''").fetchone()[
            0
        ]:
            return {}
        guards = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'"
        ).fetchall()
        for name, _ in guards:  # events are never changed; this copy is another record, and says so
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE events SET note = NULL WHERE note IS NOT NULL")
        for _, sql in guards:
            connection.execute(sql)
        connection.commit()
        connection.execute("VACUUM")
    return {} if chain is None else {CHAIN: chain.head}
