"""Write the demo's trial file and the rows it names into a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Literal

from finetrial.starter.corpus import CorpusWriter, TldrRow, VerseRow
from finetrial.store.files import atomic_text

Task = Literal["tldr", "verse"]
# What is written for each split; the demo's seed is the seed of the starter's own corpus, so that its held-out rows
# are those the base never read.
ROWS = {"train": 3000, "validation": 100, "heldout": 60}
SEED = 0


def _rows(writer: CorpusWriter, task: Task, split: str, *, avoid: frozenset[str]) -> Sequence[TldrRow | VerseRow]:
    if task == "tldr":
        return writer.tldr_rows(split, count=ROWS[split])
    return writer.verse_rows(split, count=ROWS[split], avoid=avoid)


def write_demo(folder: Path, *, task: Task) -> Path:
    """Write the demo's rows and trial file into `folder` and return the trial file. The same bytes every time."""
    writer = CorpusWriter(seed=SEED)
    avoid: frozenset[str] = frozenset()
    for split in ("heldout", "validation", "train"):
        rows = _rows(writer, task, split, avoid=avoid)
        avoid |= frozenset(row.prompt for row in rows)
        lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        atomic_text(folder / f"{task}_{split}.jsonl", "".join(lines))
    trial = resources.files("finetrial.starter") / "trials" / f"{task}.yaml"
    path = folder / f"{task}.yaml"
    atomic_text(path, trial.read_text(encoding="utf-8"))
    return path
