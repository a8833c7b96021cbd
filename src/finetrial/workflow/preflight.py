"""Can everything the trial asks for be had on this machine? Asked once, before anything is tuned."""

from __future__ import annotations

from finetrial.models.device import choose_precision, pick_device
from finetrial.training.requirements import check_optimizer, check_quantize, check_trackers
from finetrial.workflow.context import TrialContext
from finetrial.workflow.tuning import is_tuned


def check_asked(context: TrialContext) -> None:
    """Raises UserError for a tracker that is not installed and for what this device cannot do.

    What only arms need that are tuned already is not asked for.
    """
    training = context.trial.training
    tuned = [arm for arm in context.arms if context.trial.arms[arm].tuned]
    waiting = [arm for arm in tuned if not is_tuned(context, arm)]
    if not waiting:
        return
    device = pick_device()
    check_trackers(training.trackers)
    check_optimizer(training.optimizer, device=device)
    for arm in waiting:
        chosen = context.trial.arms[arm]
        precision = chosen.precision or training.precision
        if precision != "auto":
            choose_precision(precision, device=device)
        if chosen.tuning.base_bits is not None:
            check_quantize(device=device)
