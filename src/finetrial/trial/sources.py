"""Read what a source's name in the trial file stands for.

    tickets.jsonl               a file, or a folder with train.*, validation.* and test.* in it
    plays.txt[30000:38000]      its lines 30,001 to 38,000; for other files, rows
    tickets.jsonl[:10%]         its first tenth
    owner/name                  a data set of the hub with all its splits
    owner/name:test[:200]       one split of it
    owner/name:en:test          one split of its configuration `en`
    owner/name:train[:20000]    its first 20,000 rows; nothing behind them is fetched

Slices count from zero and leave the end out, as in Python and in the `datasets` package; negative numbers count
from the end; a percentage is rounded to the nearest row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetrial.errors import UserError
from finetrial.store.compressed_files import plain_stem
from finetrial.trial.examples import SplitName
from finetrial.trial.hub import read_hub, read_hub_slice, read_hub_split
from finetrial.trial.rows import Table, read_file
from finetrial.trial.schema import LOCAL_SUFFIXES, is_local

# What others call the three splits.
SPLIT_NAMES: Mapping[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "heldout": ("heldout", "test", "testing", "eval", "evaluation"),
}
_SLICE = re.compile(r"(?P<place>.+)\[(?P<start>-?\d+%?)?:(?P<end>-?\d+%?)?\]\Z")


@dataclass(frozen=True, slots=True)
class SourceName:
    """A source's name, taken apart."""

    place: str  # a path or a hub id
    configuration: str | None = None  # hub only
    split: str | None = None  # hub only
    start: str | None = None  # of the slice: "30000", "-5", "10%"
    end: str | None = None

    @property
    def sliced(self) -> bool:
        return self.start is not None or self.end is not None


def parse_source(name: str, *, base: Path) -> SourceName:
    """Take a source's name apart; a file that stands here under the whole name is that file."""
    if (base / name).is_file():
        return SourceName(name)
    match = _SLICE.match(name)
    if match is None and name.endswith("]"):
        raise UserError(f"the slice of {name!r} is not understood", expected="such as [100:200], [:10%] or [-500:]")
    place, start, end = (match["place"], match["start"], match["end"]) if match else (name, None, None)
    if is_local(place, base=base):
        return SourceName(place, start=start, end=end)
    parts = place.split(":")
    if len(parts) > 3 or not parts[0]:
        raise UserError(f"the source {name!r} is not understood", expected="a file, owner/name or owner/name:split")
    configuration = parts[1] if len(parts) == 3 else None
    split = parts[-1] if len(parts) > 1 else None
    return SourceName(parts[0], configuration or None, split or None, start, end)


def _position(text: str | None, *, default: int, count: int) -> int:
    if text is None:
        return default
    if text.endswith("%"):
        value = int(count * int(text[:-1]) / 100 + (0.5 if not text.startswith("-") else -0.5))
    else:
        value = int(text)
    return max(0, min(count, value + count if text.startswith("-") else value))


def slice_table(table: Table, name: SourceName) -> Table:
    """The rows of a table that the slice keeps. A slice without rows is an error that says how many there are."""
    if not name.sliced:
        return table
    count = len(table.rows)
    start = _position(name.start, default=0, count=count)
    end = _position(name.end, default=count, count=count)
    if start >= end:
        unit = "lines" if table.lines_of_text else "rows"
        raise UserError(
            f"the slice [{name.start or ''}:{name.end or ''}] of {table.name} is empty",
            got=f"{count:,} {unit}",
            expected=f"[from:to] within 0 and {count}",
        )
    return replace(table, rows=table.rows[start:end])


def read_source(name: str, *, base: Path, revision: str | None) -> Table:
    """The rows of one file or of one hub split."""
    source = parse_source(name, base=base)
    if is_local(source.place, base=base):
        return slice_table(read_file(_path(source.place, base=base)), source)
    if (fixed := fixed_bounds(source)) is not None:
        return read_hub_slice(
            source.place,
            configuration=source.configuration,
            split=source.split or "train",
            revision=revision,
            start=fixed[0],
            end=fixed[1],
        )
    table = read_hub_split(
        source.place, configuration=source.configuration, split=source.split or "train", revision=revision
    )
    return slice_table(table, source)


def fixed_bounds(name: SourceName) -> tuple[int, int] | None:
    """A slice's bounds where they are known without the number of rows."""
    start = name.start or "0"
    if name.end is None or any(text.startswith("-") or text.endswith("%") for text in (start, name.end)):
        return None
    return int(start), int(name.end)


def _path(place: str, *, base: Path) -> Path:
    return base / Path(place).expanduser()


def read_splits_of(name: str, *, base: Path, revision: str | None) -> dict[SplitName, Table]:
    """The splits that a source brings of its own; a file, a slice or one named split is all `train`."""
    source = parse_source(name, base=base)
    if not is_local(source.place, base=base):
        if source.split or source.sliced:
            return {"train": read_source(name, base=base, revision=revision)}
        hub = read_hub(source.place, configuration=source.configuration, revision=revision)
        tables = {split: hub[theirs] for split, theirs in _splits_among(hub).items()}
        return _with_train(tables, where=f"the data set {source.place}", found=hub)
    path = _path(source.place, base=base)
    if not path.is_dir():
        return {"train": read_source(name, base=base, revision=revision)}
    files = {plain_stem(p): p for p in sorted(path.iterdir()) if p.name.endswith(LOCAL_SUFFIXES)}
    tables = {split: read_file(files[stem]) for split, stem in _splits_among(files).items()}
    return _with_train(tables, where=f"the folder {source.place}", found=[p.name for p in files.values()])


def _with_train(tables: dict[SplitName, Table], *, where: str, found: Iterable[str]) -> dict[SplitName, Table]:
    if "train" not in tables:
        raise UserError(
            f"{where} has no training split",
            got=", ".join(found) or "nothing that is read",
            fix="Name the splits one by one: source: {train: ..., heldout: ...}.",
        )
    return tables


def _splits_among(names: Mapping[str, object]) -> dict[SplitName, str]:
    """Our split -> the name under which it stands among `names`."""
    found: dict[SplitName, str] = {}
    for split, theirs in SPLIT_NAMES.items():
        match = next((name for name in theirs if name in names), None)
        if match is not None:
            found[split] = match
    return found
