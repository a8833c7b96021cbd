"""The size and the data that give the least loss for a budget of FLOPs, and how flat that optimum is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetrial.errors import AnswerIsNo, UserError
from finetrial.scaling.laws import FLOPS_PER_PARAM_TOKEN, Law, ParametricLaw
from finetrial.scaling.repeated_data import Rule
from finetrial.scaling.target_loss import Outcome, train

FLOPS_PER_PARAM_INFERENCE_TOKEN = 2.0  # Kaplan et al. 2020, table 1: one forward pass
LARGER_SIZE = 1.41  # of the worked comparison at equal cost; --grow names others
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Allocation:
    """The best split of a budget, and the losses at half and twice the size for the same budget."""

    best: Outcome
    half: Outcome
    twice: Outcome | None  # None when serving twice the size would leave nothing to train with
    flops: float
    inference_tokens: float


def spend(
    law: Law,
    *,
    params: float,
    flops: float,
    unique_tokens: float | None,
    rule: Rule,
    inference_tokens: float = 0.0,
) -> Outcome | None:
    """Train this size with the whole budget: D = (C - 2 N T) / (6 N). None when serving T tokens eats it all."""
    left = flops - FLOPS_PER_PARAM_INFERENCE_TOKEN * params * inference_tokens
    if left <= 0:
        return None
    tokens = left / (FLOPS_PER_PARAM_TOKEN * params)
    return train(law, params=params, tokens=tokens, unique_tokens=unique_tokens, rule=rule)


def allocate(
    law: Law, *, flops: float, unique_tokens: float | None, rule: Rule, inference_tokens: float = 0.0
) -> Allocation:
    """The size with the least loss at `flops`, of which 2 N T go to serving T tokens.

    Closed form for fresh data (Hoffmann et al. 2022, eq. 4); otherwise a scan over sizes and a golden section, as
    repetition bends the curve at one epoch. With inference tokens this is the dual of Sardana et al. 2024 (arXiv
    2401.00448), who fix the loss and minimise training plus serving.
    """
    if not isinstance(law, ParametricLaw):
        raise UserError(
            f"the law {law.name} gives no compute-optimal size",
            expected="a law E + A/N^alpha + B/D^beta",
            fix="Its tokens are not processed tokens (see --law in `finetrial scale loss --help`).",
        )

    def at(params: float) -> Outcome | None:
        return spend(
            law,
            params=params,
            flops=flops,
            unique_tokens=unique_tokens,
            rule=rule,
            inference_tokens=inference_tokens,
        )

    params = law.optimal_params(flops)
    if inference_tokens > 0:
        affordable = flops / (FLOPS_PER_PARAM_INFERENCE_TOKEN * inference_tokens)
        if affordable <= 1:
            raise AnswerIsNo(
                "serving alone takes more than the budget at any size",
                got=f"{flops:.4g} FLOPs for {inference_tokens:.4g} tokens",
                expected="more than 2 FLOPs a token",
            )
        params = min(params, 0.1 * affordable)
    in_closed_form = inference_tokens == 0 and rule.r_star_params is None
    if in_closed_form:
        plain = at(params)
        assert plain is not None
        in_closed_form = plain.epochs_total is None or plain.epochs_total <= 1 or math.isinf(rule.limit)
    if not in_closed_form:
        params = _search(at, around=params)
    best, half = at(params), at(params / 2)
    assert best is not None
    assert half is not None  # a smaller model costs less to serve
    return Allocation(best, half, at(2 * params), flops, inference_tokens)


@dataclass(frozen=True)
class SameCost:
    """What one budget buys at a size, at multiples of it, and at the best."""

    flops: float
    same_size: Outcome
    grown: tuple[Outcome, ...]  # as many as factors were given
    best: Outcome

    @property
    def larger(self) -> Outcome:
        return self.grown[0]


def at_same_cost(
    law: ParametricLaw, *, outcome: Outcome, flops: float, rule: Rule, grow: Sequence[float] = (LARGER_SIZE,)
) -> SameCost:
    """Spend `flops` on the size of `outcome`, on multiples of that size and on the best one, with the same data."""

    def at(params: float) -> Outcome:
        run = spend(law, params=params, flops=flops, unique_tokens=outcome.unique_tokens, rule=rule)
        assert run is not None
        return run

    best = allocate(law, flops=flops, unique_tokens=outcome.unique_tokens, rule=rule).best
    return SameCost(
        flops, at(outcome.params), tuple(at(factor * outcome.params) for factor in grow or (LARGER_SIZE,)), best
    )


def _search(at: Callable[[float], Outcome | None], *, around: float) -> float:
    """The size with the least loss: 481 sizes over twelve orders of magnitude, then a golden section."""

    def loss(log_params: float) -> float:
        outcome = at(math.exp(log_params))
        return math.inf if outcome is None else outcome.loss

    step = 12 * math.log(10) / 480
    grid = [math.log(around) + (index - 240) * step for index in range(481)]
    centre = min(grid, key=loss)
    low, high = centre - step, centre + step
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-10:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - _GOLDEN * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + _GOLDEN * (high - low)
            loss_right = loss(right)
    return math.exp((low + high) / 2)
