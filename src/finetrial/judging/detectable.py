"""Say before the first grade which differences these prompts can detect.

What is said follows from the numbers of prompts, arms and samples; it needs no grade and no key.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.stats.power import fewest_prompts
from finetrial.stats.sample_size import ALPHA, DIFFERENCE, sample_size
from finetrial.store.grade_records import GradingSettings
from finetrial.trial.set_aside import REFERENCES_ARM


@dataclass(frozen=True, slots=True)
class Detectable:
    """What a number of prompts can show. All p are two-sided, of a sign-flip test over prompts."""

    units: int
    comparisons: int
    least_p: float
    least_p_holm: float  # after Holm's correction over the comparisons
    fewest_units: int  # with which the first comparison can reach .05 under Holm
    units_for_difference: int  # for 80 % power at a difference of twenty points, under Holm
    samples: int  # of a prompt and an arm

    @property
    def can_show(self) -> bool:
        return self.least_p_holm <= ALPHA


def detectable_by(settings: GradingSettings) -> Detectable | None:
    """The reach of what was set aside; None where there is one arm alone and so nothing to compare."""
    arms = len([arm for arm in settings.arms if arm != REFERENCES_ARM])
    if arms < 2 or not settings.prompts:
        return None
    units = settings.units if settings.units is not None else settings.prompts
    comparisons = arms * (arms - 1) // 2
    least = min(1.0, 2.0 ** (1 - units))
    samples = max(1, round(settings.items / (settings.prompts * len(settings.arms))))
    needed = sample_size(arms=arms, per_prompt=samples, difference=DIFFERENCE).needed
    assert needed is not None and needed.prompts is not None  # two arms, and a difference above zero
    return Detectable(
        units=units,
        comparisons=comparisons,
        least_p=least,
        least_p_holm=min(1.0, comparisons * least),
        fewest_units=fewest_prompts(alpha=ALPHA, n_pairs=comparisons),
        units_for_difference=needed.prompts,
        samples=samples,
    )


def _p(value: float) -> str:
    return "less than 0.001" if value < 0.001 else f"{value:.3g}"


def detectable_sentences(settings: GradingSettings) -> tuple[str, ...]:
    """What the page says before the first grade."""
    found = detectable_by(settings)
    if found is None:
        return ("There is one arm alone: grades say how good its samples are, and compare nothing.",)
    grouped = settings.units is not None and settings.units != settings.prompts
    prompts = f"{found.units} {'group' if grouped else 'prompt'}{'s' * (found.units != 1)}"
    unit = "groups" if grouped else "prompts"
    smallest = f"the smallest p that {prompts} can reach is {_p(found.least_p)}"
    if found.comparisons > 1:
        smallest += f", {_p(found.least_p_holm)} after Holm's correction for {found.comparisons} comparisons"
    if found.can_show:
        first = f"These prompts can show a clear difference on new prompts: {smallest}."
    else:
        first = (
            f"These prompts cannot show that an arm is better on new prompts, however clear it looks: {smallest}, "
            f"and 0.05 is asked for. {found.fewest_units} {unit} are the fewest that could."
        )
    each = f"{found.samples} sample{'s' * (found.samples != 1)} each"
    second = (
        f"To detect a true difference of 20 points in 100 with 80 % power takes at least "
        f"{found.units_for_difference} {unit} with {each}, every pair under Holm, where {unit} are alike and half "
        "of the answers are good. It takes more where they differ."
    )
    third = "One rater shows what one reader finds good." if settings.raters == 1 else None
    return tuple(filter(None, (first, second, third)))
