"""Write an arm of a trial as a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.errors import UserError, unknown_name
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, read_object
from finetrial.trial.trial_file import LoadedTrial

if TYPE_CHECKING:
    from finetrial.models.export_folder import Exported


def exportable_arm(loaded: LoadedTrial, folder: TrialFolder, arm: str | None) -> str:
    """The arm's name. Raises UserError where it is none, is no model of the trial's own, or is not tuned yet."""
    arms = loaded.trial.arms
    if arm is None:
        raise UserError("no arm is named", expected="one of " + ", ".join(arms))
    if arm not in arms:
        raise unknown_name("arm", arm, arms)
    if arms[arm].method.is_answered_elsewhere or arms[arm].method.deployed_from is not None:
        raise UserError(f"arm {arm} is no model of this trial's own", got=arms[arm].describe())
    if arms[arm].tuned and not any(folder.arm(arm).glob("*.safetensors")):
        raise UserError(
            f"arm {arm} is not tuned yet", got=f"no weights in {folder.arm(arm)}", fix="`finetrial tune` tunes it."
        )
    return arm


def tuned_precision(loaded: LoadedTrial, folder: TrialFolder, arm: str) -> str:
    """The precision in which the arm was tuned; float32 where it was not."""
    if loaded.trial.arms[arm].tuned and folder.measured(arm).exists():
        return read_object(folder.measured(arm), Measured).precision or "float32"
    return "float32"


def write_arm(
    loaded: LoadedTrial, folder: TrialFolder, arm: str, *, out: Path, precision: str, is_adapter: bool = False
) -> Exported:
    """The arm as a folder: merged, or where that is asked for, or nothing else can be, as its adapter."""
    from finetrial.models.device import DTYPES
    from finetrial.models.export_folder import export_adapter, export_arm, export_tuned  # this loads torch

    chosen, own, base = loaded.trial.arms[arm], folder.arm(arm), loaded.base_source(arm)
    dtype, trusted = DTYPES[precision], loaded.trial.trust_remote_code
    adapter = loaded.path(chosen.adapter) if chosen.adapter else None
    if is_adapter:
        place = own if chosen.tuned else adapter
        if place is None or not (place / "adapter_config.json").exists():
            raise UserError(f"arm {arm} has no adapter", got=chosen.describe(), fix="Leave out --as adapter.")
        return export_adapter(place, base=base, out=out, trust_remote_code=trusted)
    if chosen.tuned:
        from finetrial.methods.torch_half import Where

        where = Where(base=base, dtype=dtype, trust_remote_code=trusted)
        return export_tuned(chosen.tuning, where, folder=own, out=out)
    return export_arm(
        base,
        out=out,
        adapter=adapter,
        model=loaded.model_source(chosen.model) if chosen.model else None,
        dtype=dtype,
        trust_remote_code=trusted,
    )
