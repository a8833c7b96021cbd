"""Can what a trial asks for be had on this machine? Asked before anything is tuned, so that no hour is lost."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch

from finetrial.errors import MissingPackage, UserError
from finetrial.training.task import OptimizerName

# Each tracker is a package of its own name; TensorBoard's files are also written by tensorboardX.
_STAND_INS = {"tensorboard": ("tensorboard", "tensorboardX")}


def check_trackers(names: Sequence[str]) -> None:
    """Raises MissingPackage for a tracker that is not installed."""
    for name in names:
        if not any(importlib.util.find_spec(package) for package in _STAND_INS.get(name, (name,))):
            raise MissingPackage(name, extra=None, purpose=f"training.trackers: {name}")


def _check_bitsandbytes(*, purpose: str, device: torch.device, fix: str) -> None:
    if device.type != "cuda":
        raise UserError(f"{purpose} needs a CUDA device", got=device.type, fix=fix)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingPackage("bitsandbytes", extra=None, purpose=purpose)


def check_quantize(*, device: torch.device) -> None:
    """Raises UserError where a base cannot be held in four bits."""
    _check_bitsandbytes(purpose="quantize: nf4", device=device, fix="Leave quantize out.")


def check_optimizer(name: OptimizerName, *, device: torch.device) -> None:
    """Raises UserError for an optimizer that does not run here."""
    if name == "adamw8bit":
        _check_bitsandbytes(purpose="optimizer: adamw8bit", device=device, fix="Use optimizer: adamw.")
