"""What rates are measured with: a micro-batch and a sampling batch like those that the trial will have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.planning.token_counts import ArmTokens
from finetrial.store.plan_record import ArmMemory

_ROUND = 16  # tokens to which lengths are rounded, so that a few more rows measure nothing anew


@dataclass(frozen=True, slots=True, kw_only=True)
class TypicalBatches:
    """One arm's."""

    lengths: tuple[int, ...]  # of a training micro-batch's examples; empty where nothing is tuned
    loss_tokens: int
    prompt_tokens: int
    prompts: int  # sampled together
    per_prompt: int


def typical_batches(tokens: ArmTokens, memory: ArmMemory) -> TypicalBatches:
    """The arm's micro-batch by the spread of its examples' lengths, and its sampling batch by their mean."""
    lengths = typical_lengths(tokens.train, micro_tokens=memory.micro_tokens or 0)
    share = tokens.train_loss / max(1, sum(tokens.train))
    mean_prompt = sum(tokens.prompts) / max(1, len(tokens.prompts))
    return TypicalBatches(
        lengths=lengths,
        loss_tokens=max(len(lengths), round(share * sum(lengths))),
        prompt_tokens=_rounded(mean_prompt),
        prompts=max(1, min(len(tokens.prompts), memory.sequences // tokens.per_prompt)),
        per_prompt=tokens.per_prompt,
    )


def typical_lengths(lengths: Sequence[int], *, micro_tokens: int) -> tuple[int, ...]:
    """So many examples as a micro-batch holds, at even steps through the sorted lengths."""
    if not lengths:
        return ()
    ordered = sorted(lengths)
    count = max(1, min(len(ordered), int(micro_tokens * len(ordered) / sum(ordered))))
    places = (int((i + 0.5) * len(ordered) / count) for i in range(count))
    return tuple(_rounded(ordered[place]) for place in places)


def _rounded(value: float) -> int:
    return max(2, _ROUND * round(value / _ROUND)) if value >= _ROUND else max(2, round(value))
