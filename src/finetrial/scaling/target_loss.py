"""The loss that so many tokens give, and the tokens and epochs that reach a given loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetrial.scaling.laws import Law, training_flops
from finetrial.scaling.repeated_data import Rule, effective_params

_DATA_LIMIT = 1e60  # tokens beyond which a search for data gives up; far beyond any text there could be


@dataclass(frozen=True)
class Outcome:
    """One training run on paper. Effective tokens set the loss, processed tokens the compute."""

    params: float
    params_effective: float
    unique_tokens: float | None
    epochs_total: float | None  # None when nobody said how many tokens are unique
    tokens_processed: float
    tokens_effective: float
    flops_processed: float
    flops_effective: float
    loss: float


@dataclass(frozen=True)
class Unreachable:
    """No amount of this training reaches the loss asked for."""

    loss: float  # asked for
    floor: float  # E + A / N^alpha at this size
    nearest_loss: float  # the infimum of what this size, data and rule can do; approached, never reached
    reason: str


def train(law: Law, *, params: float, tokens: float, unique_tokens: float | None, rule: Rule) -> Outcome:
    """The outcome of processing `tokens`, of which `unique_tokens` are different (None: all of them)."""
    if unique_tokens is None:
        epochs, effective = None, tokens
    else:
        epochs = tokens / unique_tokens
        effective = unique_tokens * rule.worth(epochs)
    fresh = tokens if unique_tokens is None else min(tokens, unique_tokens)
    size = effective_params(law, params=params, fresh_tokens=fresh, rule=rule)
    return Outcome(
        params=params,
        params_effective=size,
        unique_tokens=unique_tokens,
        epochs_total=epochs,
        tokens_processed=tokens,
        tokens_effective=effective,
        flops_processed=training_flops(params, tokens=tokens),
        flops_effective=training_flops(params, tokens=effective),
        loss=law.loss(size, tokens=effective),
    )


def reach(
    law: Law, *, params: float, loss: float, unique_tokens: float | None, rule: Rule
) -> Outcome | Unreachable:
    """The least training that reaches `loss` at this size, or why none does."""
    floor = law.floor(params)
    if loss <= floor:
        nearest = _infimum(law, params=params, unique_tokens=unique_tokens, rule=rule)
        return Unreachable(loss, floor, nearest, "the target is not above the floor of this size")
    if rule.r_star_params is None:
        effective = law.tokens_for_loss(params, loss=loss)
    else:
        effective = _effective_tokens_by_search(
            law, params=params, loss=loss, unique_tokens=unique_tokens, rule=rule
        )
    if effective is None:
        nearest = _infimum(law, params=params, unique_tokens=unique_tokens, rule=rule)
        return Unreachable(loss, floor, nearest, "no amount of this data reaches the target at this size")
    if unique_tokens is None:
        return train(law, params=params, tokens=effective, unique_tokens=None, rule=rule)
    epochs = rule.epochs_for(effective / unique_tokens)
    if epochs is None:
        nearest = _infimum(law, params=params, unique_tokens=unique_tokens, rule=rule)
        reason = (
            f"under the rule {rule.name} repetition is worth at most {rule.limit:.4g} times the unique tokens, "
            f"and the target needs {effective / unique_tokens:.4g} times"
        )
        return Unreachable(loss, floor, nearest, reason)
    return train(law, params=params, tokens=unique_tokens * epochs, unique_tokens=unique_tokens, rule=rule)


def _infimum(law: Law, *, params: float, unique_tokens: float | None, rule: Rule) -> float:
    """The loss that unlimited passes over the data approach."""
    if unique_tokens is None or math.isinf(rule.limit):
        return law.floor(
            params
            if unique_tokens is None
            else effective_params(law, params=params, fresh_tokens=unique_tokens, rule=rule)
        )
    size = effective_params(law, params=params, fresh_tokens=unique_tokens, rule=rule)
    return law.loss(size, tokens=unique_tokens * rule.limit)


def _effective_tokens_by_search(
    law: Law, *, params: float, loss: float, unique_tokens: float | None, rule: Rule
) -> float | None:
    """Effective tokens where the worth of the parameters grows with the fresh data: there is no closed form."""
    if unique_tokens is not None:
        size = effective_params(law, params=params, fresh_tokens=unique_tokens, rule=rule)
        if loss <= law.loss(size, tokens=unique_tokens):  # beyond one epoch the size is settled
            return law.tokens_for_loss(size, loss=loss)

    def at(tokens: float) -> float:
        size = effective_params(law, params=params, fresh_tokens=tokens, rule=rule)
        return law.loss(size, tokens=tokens)

    low, high = 1.0, 2.0
    while at(high) > loss:
        low, high = high, high * 4
        if high > _DATA_LIMIT:
            return None
    for _ in range(200):  # the loss falls with fresh tokens, so halving the logarithm closes in
        middle = math.sqrt(low * high)
        low, high = (middle, high) if at(middle) > loss else (low, middle)
        if high / low - 1 < 1e-15:
            break
    return high
