"""Choose the best of several answers to a prompt by their likelihood."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.errors import UserError
from finetrial.store.records import Sample


def most_likely(samples: Iterable[Sample]) -> list[Sample]:
    """Of each prompt the sample whose tokens, its end token included, are most probable together.

    The first of equals, in the order of the prompts. Raises UserError where a sampler gives no likelihoods.
    """
    best: dict[str, Sample] = {}
    for sample in samples:
        if sample.logprob is None:
            raise UserError(
                f"arm {sample.arm} has no likelihoods to choose an answer by",
                fix="Use sampling.engine: torch, or ask for all answers.",
            )
        known = best.get(sample.prompt_id)
        if known is None or (known.logprob or 0.0) < sample.logprob:
            best[sample.prompt_id] = sample
    return list(best.values())
