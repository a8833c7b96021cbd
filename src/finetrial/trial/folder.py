"""Which folder does a trial run in?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.trial.load import LoadedTrial, load_trial


def open_trial(
    path: Path, *, out: Path | None = None, overrides: Sequence[str] = ()
) -> tuple[LoadedTrial, TrialFolder]:
    """The trial and its folder, from the trial file or from the folder itself.

    A trial file runs in `out`, or else in runs/<name> beside the file.
    """
    loaded = load_trial(path, overrides=overrides)
    if path.is_dir():
        if out is not None and out.resolve() != path.resolve():
            raise UserError("--out names another folder than the trial's own", got=str(out), expected=str(path))
        return loaded, TrialFolder(path)
    return loaded, TrialFolder(out if out is not None else loaded.base / "runs" / loaded.trial.trial)
