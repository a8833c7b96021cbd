"""Keep rows that were given in memory as files of the trial's folder, so that the folder alone repeats the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.api.frames import is_rows, read_rows_given
from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.folder_lock import folder_lock
from finetrial.trial.sources import SPLIT_NAMES

_OUR_NAMES = {theirs: split for split, names in SPLIT_NAMES.items() for theirs in names}


@dataclass(frozen=True, slots=True)
class KeptRows:
    """The text of one file of rows, and where in the trial's folder it is kept."""

    name: str  # relative to the folder
    text: str  # JSON Lines


def keep_rows(data: Any) -> tuple[dict[str, Any], tuple[KeptRows, ...]]:
    """A trial file's `data` block for what was given, and the files that its rows go into.

    `data` is a source's name, rows, {train: rows, ...}, or a `data` block whose `source` is one of these. Splits
    may have the names that others give them, such as test for heldout.
    """
    is_block = isinstance(data, Mapping) and not (data and set(data) <= set(_OUR_NAMES))
    return _block(data if is_block else {"source": data})


def _block(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[KeptRows, ...]]:
    block, source = dict(data), data.get("source")
    if isinstance(source, Path):
        block["source"] = str(source)
    elif isinstance(source, Mapping):
        source = {_OUR_NAMES.get(name, name): part for name, part in source.items()}
        kept = {split: _kept(rows, split=split) for split, rows in source.items() if is_rows(rows)}
        named = {split: str(value) if isinstance(value, Path) else value for split, value in source.items()}
        block["source"] = named | {split: file.name for split, file in kept.items()}
        return block, tuple(kept.values())
    elif is_rows(source):
        file = _kept(source, split="rows")
        block["source"] = file.name
        return block, (file,)
    return block, ()


def placed(block: Mapping[str, Any], *, kept: tuple[KeptRows, ...], root: Path) -> dict[str, Any]:
    """The `data` block with the files of rows named from anywhere: the trial's own paths start elsewhere."""
    names = {file.name: str(root / file.name) for file in kept}
    source = block.get("source")
    if isinstance(source, str):
        return {**block, "source": names.get(source, source)}
    if isinstance(source, Mapping):
        return {**block, "source": {split: names.get(name, name) for split, name in source.items()}}
    return dict(block)


def _kept(rows: Any, *, split: str) -> KeptRows:
    name = "the data" if split == "rows" else f"data.{split}"
    found = read_rows_given(rows, name=name)
    if not found:
        raise UserError(f"{name} holds no rows", expected='rows such as {"prompt": ..., "completion": ...}')
    lines = []
    for number, row in enumerate(found, start=1):
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
            line.encode()  # half of a character cannot be
            lines.append(line)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{name}, row {number} cannot be written as JSON",
                got=str(error),
                expected="texts, numbers, lists and mappings",
            ) from None
    return KeptRows(f"data/{split}.jsonl", "".join(lines))


def write_kept(folder: Path, files: tuple[KeptRows, ...]) -> None:
    """Write the files that differ from what stands in the folder.

    Raises UserError where another run is at work there: it may be reading them.
    """
    changed = [file for file in files if _standing(folder / file.name) != file.text]
    if changed:
        with folder_lock(folder):
            for file in changed:
                atomic_text(folder / file.name, file.text)


def _standing(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
