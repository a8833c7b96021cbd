"""Keep what a changed setting displaces, under the hash of what made it, and take it back.

kept/<step>/<arm>/<hash>/ holds the files by their places in the trial folder, and record.json, which says what made
them. Files are moved, not copied. Stopped anywhere, either direction goes on where it was: record.json is written
first and removed last.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrial.store.files import atomic_path, atomic_text
from finetrial.store.hashes import ABSENT, hash_value
from finetrial.store.layout import TrialFolder

_RECORD = "record.json"
_SHORT = 16  # characters of the hash in a folder's name


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """What made the kept files. `outputs` is None for a step that was not finished: it goes on when taken back."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str] | None


def kept_place(folder: TrialFolder, *, step: str, arm: str, inputs: Mapping[str, str]) -> Path:
    """Where what these inputs made is kept."""
    given = {name: value for name, value in inputs.items() if value != ABSENT}
    return folder.kept / step / arm / hash_value(given)[:_SHORT]


def displace(
    folder: TrialFolder, place: Path, record: KeptRecord, *, files: Iterable[Path], shared: Iterable[Path] = ()
) -> int:
    """Move files into their place among what is kept; `shared` files belong to others too and are copied. Returns
    the bytes that are kept now. Does nothing where there are no files."""
    found = [path for path in files if path.is_file()]
    if not found:
        return 0
    if record.outputs is not None or not (place / _RECORD).exists():
        content = {"inputs": dict(record.inputs), "outputs": record.outputs and dict(record.outputs)}
        atomic_text(place / _RECORD, json.dumps(content, indent=2) + "\n")
    for path in shared:
        if path.is_file():
            with atomic_path(place / path.relative_to(folder.root)) as temporary:
                shutil.copy2(path, temporary)
    for path in found:
        _move(path, place / path.relative_to(folder.root))
    for parent in {path.parent for path in found}:
        _remove_empty(parent, until=folder.root)
    return kept_bytes(place)


def kept_record(place: Path) -> KeptRecord | None:
    """What is kept there; None where nothing is."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        content = json.loads((place / _RECORD).read_text(encoding="utf-8"))
        return KeptRecord(content["inputs"], content["outputs"])
    return None


def take_back(folder: TrialFolder, place: Path) -> None:
    """Move what is kept back to where it was. `forget_kept` ends it, once the manifest knows of it."""
    for path in _files(place):
        if path != place / _RECORD:
            _move(path, folder.root / path.relative_to(place))


def forget_kept(folder: TrialFolder, place: Path) -> None:
    """Remove the place of what was taken back."""
    (place / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
    _remove_empty(place.parent, until=folder.root)


def kept_bytes(place: Path) -> int:
    """The size of the files under a folder."""
    return sum(path.stat().st_size for path in _files(place))


def empty_kept(folder: TrialFolder) -> int:
    """Remove everything that is kept. Returns its bytes."""
    size = kept_bytes(folder.kept)
    if folder.kept.exists():
        shutil.rmtree(folder.kept)
    return size


def kept_places(folder: TrialFolder) -> Sequence[Path]:
    """The folders of all that is kept, in their order."""
    return sorted(path.parent for path in folder.kept.glob(f"*/*/*/{_RECORD}"))


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)


def _remove_empty(folder: Path, *, until: Path) -> None:
    """Remove a folder and those above it that are empty, up to the trial's own."""
    while folder != until and folder.is_relative_to(until):
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
