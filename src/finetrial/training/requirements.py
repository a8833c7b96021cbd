"""Check before anything is tuned that the packages a trial asks for are there and run here."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch

from finetrial.errors import MissingPackage
from finetrial.models.quantize import check_bitsandbytes
from finetrial.training.task import OptimizerName

# Each tracker is a package of its own name; TensorBoard's files are also written by tensorboardX.
_STAND_INS = {"tensorboard": ("tensorboard", "tensorboardX")}


def check_trackers(names: Sequence[str]) -> None:
    """Raises MissingPackage for a tracker that is not installed."""
    for name in names:
        if not any(importlib.util.find_spec(package) for package in _STAND_INS.get(name, (name,))):
            raise MissingPackage(name, extra=None, purpose=f"training.trackers: {name}")


def check_optimizer(name: OptimizerName, *, device: torch.device) -> None:
    """Raises UserError for an optimizer that does not run here."""
    if name == "adamw8bit":
        check_bitsandbytes(purpose="optimizer: adamw8bit", device=device, fix="Use optimizer: adamw.")
