"""What each arm is to a plan: its method in footprint's terms, and the model that it runs."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.errors import FinetrialError
from finetrial.footprint.adapters import Method
from finetrial.footprint.structure import Shape
from finetrial.planning.model_shape import load_shape
from finetrial.trial.arms import Arm
from finetrial.trial.schema import Trial
from finetrial.trial.trial_file import LoadedTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedModel:
    """The shape that an arm runs; None with the reason where it cannot be known."""

    shape: Shape | None
    reason: str | None = None


def method_of(arm: Arm) -> Method | None:
    """What is trained, as `footprint` counts it; None where nothing is, or where only the model itself says."""
    return arm.tuning.counted() if arm.tuned else None


def dtype_of(trial: Trial, arm: Arm, *, precision: str) -> str:
    """The arm's precision; `auto` comes to `precision`."""
    asked = arm.precision or trial.training.precision
    return precision if asked == "auto" else asked


def models_of(loaded: LoadedTrial) -> dict[str, PlannedModel]:
    """Every arm's shape, each configuration read once. What cannot be read is a reason, never an error."""
    read: dict[str, PlannedModel] = {}
    found = {}
    for name in loaded.trial.arms:
        source = loaded.model_source(loaded.trial.model_of(name))
        if source not in read:
            try:
                read[source] = PlannedModel(shape=load_shape(source))
            except FinetrialError as error:
                read[source] = PlannedModel(shape=None, reason=error.what)
        found[name] = read[source]
    return found
