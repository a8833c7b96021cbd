"""Compute how many prompts find a difference between any two arms, and name what that rests on.

The unit is the prompt; arms are compared in pairs, by a sign-flip test under Holm's correction. How far answers
vary comes from a pilot or from an assumption that is named.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.stats.power import PromptsNeeded, Spread, prompts_needed

ALPHA, POWER = 0.05, 0.8  # as in the report
DIFFERENCE = 0.2  # assumption: twenty points in a hundred are a difference that people would act on
EVEN_ODDS = 0.25  # the variance of a good-or-bad answer at even odds, the largest there is
ASSUMED = "answers at even odds, prompts alike"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSize:
    """How many prompts find a difference, and what that rests on."""

    needed: PromptsNeeded | None  # None: one arm alone, nothing is compared
    difference: float
    comparisons: int
    assumption: str


def sample_size(
    *, arms: int, per_prompt: float, difference: float = DIFFERENCE, pilot: Spread | None = None
) -> SampleSize:
    """Prompts that find a true `difference` between any two arms with 80 % power at .05 under Holm.

    By the pilot's variances, or for good-or-bad answers at even odds. Under Holm the first of n pairs is held
    against .05 / n, and that is asked of every one.
    """
    comparisons = arms * (arms - 1) // 2
    if arms < 2:
        return SampleSize(needed=None, difference=difference, comparisons=0, assumption=ASSUMED)
    known = pilot is not None and pilot.between is not None
    if pilot is not None and pilot.between is not None:
        # arms that differ by the same on every prompt of a pilot say nothing of how far others vary
        known = pilot.between + (pilot.within_a or 0.0) + (pilot.within_b or 0.0) > 0
    if pilot is not None and known:
        assert pilot.between is not None
        between, within_a, within_b = pilot.between, pilot.within_a or 0.0, pilot.within_b or 0.0
    else:
        between, within_a, within_b = 0.0, EVEN_ODDS, EVEN_ODDS
    needed = prompts_needed(
        difference,
        between=between,
        within_a=within_a,
        within_b=within_b,
        samples=per_prompt,
        power=POWER,
        alpha=ALPHA / comparisons,
        n_pairs=1,
    )
    words = ASSUMED
    if pilot is not None and known:
        words = f"the variance seen on {pilot.n_prompts} prompts"
    elif pilot is not None and pilot.between is not None:
        words = f"{ASSUMED}, for {pilot.n_prompts} prompts of the pilot show no variance"
    return SampleSize(needed=needed, difference=difference, comparisons=comparisons, assumption=words)
