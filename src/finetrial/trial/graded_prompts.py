"""Decide how many prompts people grade where the trial file leaves that to `auto`, and read what was decided.

What was chosen stands under `resolved` in the manifest before anything is sampled; whoever lays out, grades,
reports or verifies reads it there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finetrial.stats.power import Spread
from finetrial.stats.sample_size import sample_size
from finetrial.trial.schema import Judging

RESOLVED_KEY = "judging.grade_prompts"  # beside the arms, none of whose names holds a dot
ONE_ARM = 5  # prompts where nothing is compared: a look at the answers. Assumption
# Of a folder in which no run resolved `auto`, such as one whose samples come from elsewhere. Assumption
UNRESOLVED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedPrompts:
    """How many prompts are set aside for people, and why so many."""

    prompts: int
    needed: int | None  # that find the difference; None: there is nothing to compare
    difference: float  # between two arms' shares of good answers, that grading should find
    assumption: str  # how far answers vary

    def as_dict(self) -> dict[str, Any]:
        """What stands in the manifest."""
        return asdict(self)


def choose_graded_prompts(
    judging: Judging, *, arms: int, per_prompt: int, sampled: int, units: int, pilot: Spread | None = None
) -> GradedPrompts:
    """So many prompts that a true `judging.difference` between any two arms is found four times in five.

    Of the `sampled` prompts, which are `units` where prompts of a group count as one. Holm's correction over all
    pairs; the variance is the pilot's, or the largest that good-or-bad answers have.
    """
    size = sample_size(arms=arms, per_prompt=per_prompt, difference=judging.difference, pilot=pilot)
    if size.needed is None:
        return GradedPrompts(
            prompts=min(sampled, ONE_ARM),
            needed=None,
            difference=size.difference,
            assumption="one arm alone, nothing is compared",
        )
    assert size.needed.prompts is not None, "the difference is above zero"
    needed = math.ceil(size.needed.prompts * sampled / max(1, units))
    return GradedPrompts(
        prompts=min(sampled, needed), needed=needed, difference=size.difference, assumption=size.assumption
    )


def graded_prompts(judging: Judging, *, manifest: Mapping[str, Any]) -> int:
    """How many prompts are for people: as the trial file says, or as the manifest has what `auto` came to."""
    if judging.grade_prompts != "auto":
        return judging.grade_prompts
    resolved = manifest.get("resolved")
    chosen = resolved.get(RESOLVED_KEY) if isinstance(resolved, Mapping) else None
    return int(chosen["prompts"]) if isinstance(chosen, Mapping) and "prompts" in chosen else UNRESOLVED


def settled_judging(judging: Judging, *, manifest: Mapping[str, Any]) -> Judging:
    """The judging settings with a number in place of `auto`."""
    return judging.model_copy(update={"grade_prompts": graded_prompts(judging, manifest=manifest)})
