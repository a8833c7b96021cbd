"""Find the folder that a trial runs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import check_records_version
from finetrial.trial.trial_file import LoadedTrial, load_trial


def open_trial(
    path: Path, *, out: Path | None = None, overrides: Sequence[str] = ()
) -> tuple[LoadedTrial, TrialFolder]:
    """The trial and its folder, from the trial file or from the folder itself.

    A trial file runs in `out`, or else in runs/<name> beside the file. What `--set` gave the run in that folder
    holds still, where neither the file nor `overrides` say otherwise. Raises UserError where a newer version wrote
    the folder's records.
    """
    loaded = load_trial(path, overrides=overrides)
    folder = _folder_of(loaded, path, out=out)
    check_records_version(folder.manifest)
    if not path.is_dir() and (held := Manifest(folder.manifest).content.get("set")):
        loaded = load_trial(path, overrides=overrides, held=held)
    return loaded, folder


def _folder_of(loaded: LoadedTrial, path: Path, *, out: Path | None) -> TrialFolder:
    if path.is_dir():
        if out is not None and out.resolve() != path.resolve():
            raise UserError("--out names another folder than the trial's own", got=str(out), expected=str(path))
        return TrialFolder(path)
    return TrialFolder(out if out is not None else loaded.base / "runs" / loaded.trial.trial)
