"""Check, before anything is tuned, that this machine has what the trial asks for."""

from __future__ import annotations

from collections.abc import Collection

from finetrial.models.device import choose_precision, pick_device
from finetrial.models.quantize import check_quantize
from finetrial.training.requirements import check_optimizer, check_trackers
from finetrial.workflow.context import TrialContext


def check_requirements(context: TrialContext, *, arms: Collection[str]) -> None:
    """Check what tuning these arms requires; there are none where all are tuned already.

    Raises MissingPackage for a tracker that is not installed, and UserError for what this device cannot do.
    """
    if not arms:
        return
    training, device = context.trial.training, pick_device()
    check_trackers(training.trackers)
    check_optimizer(training.optimizer, device=device)
    for name in arms:
        arm = context.arm(name)
        if arm.precision != "auto":
            choose_precision(arm.precision, device=device)
        if arm.keys.tuning.base_bits is not None:
            check_quantize(device=device)
