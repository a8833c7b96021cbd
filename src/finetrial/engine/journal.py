"""How does a run write down its losses, so that a kill loses none and a resumed run repeats none?"""

from __future__ import annotations

import json
import os
from pathlib import Path

from finetrial.store.files import atomic_bytes
from finetrial.store.records import TrainingPoint, as_object, read_rows, write_rows


def _drop_torn_line(path: Path) -> None:
    """Remove what a full disk left of a last line; a whole one ends in a line break."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        atomic_bytes(path, whole)


class Journal:
    """metrics.jsonl: one flushed line per point."""

    def __init__(self, path: Path, *, until_step: int | None) -> None:
        """Continue after `until_step`, forgetting what was written later; None starts anew."""
        self._path = path
        kept = []
        if until_step is not None and path.exists():
            _drop_torn_line(path)
            kept = [p for p in read_rows(path, TrainingPoint) if p.step <= until_step]
        write_rows(path, kept)

    def add(self, point: TrainingPoint) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(as_object(point), ensure_ascii=False, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
