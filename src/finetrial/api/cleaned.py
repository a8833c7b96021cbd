"""Remove what a trial keeps of earlier settings: what `Trial.clean` returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetrial.store.folder_lock import folder_lock
from finetrial.store.kept import empty_kept, kept_places
from finetrial.store.layout import TrialFolder


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed from a trial's folder."""

    folder: Path
    removed_bytes: int
    removed: tuple[str, ...]  # steps and arms, such as tune/lora


def clean_folder(folder: TrialFolder) -> Cleaned:
    """Empty kept/. Raises UserError while a run is at work in the folder."""
    if not folder.root.exists():
        return Cleaned(folder.root, 0, ())
    with folder_lock(folder.root):
        names = ["/".join(place.relative_to(folder.kept).parts[:2]) for place in kept_places(folder)]
        return Cleaned(folder.root, empty_kept(folder), tuple(dict.fromkeys(names)))
