"""Which arms were tuned at a learning rate that nobody chose?"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.trial.schema import Trial


def untuned_rates(trial: Trial, *, arms: Sequence[str]) -> str | None:
    """The warning for arms at their method's default rate, neither searched nor given; None where there is none.

    Methods prefer rates ten times apart (Schulman et al. 2025), and so do variants of one method (Lee et al. 2026,
    arXiv 2602.04998): at one untuned rate each, a comparison of arms is also one of rates.
    """
    untuned = [arm for arm in arms if trial.arms[arm].tuned and trial.rate_of(arm) is None]
    if not untuned:
        return None
    names = ", ".join(untuned[:-1]) + " and " * (len(untuned) > 1) + untuned[-1]
    return (
        f"The learning rate of {names} is the method's default, neither searched nor given: a difference from "
        "another arm may be one of learning rates (learning_rate: auto searches)."
    )
