"""Let a judge help a test that one may look at any time, where coin flips chose the units that people grade.

Prediction-powered e-values (Csillag, Struchiner & Goedert, arXiv 2502.04294, 2025): each unit is graded by people
with a known probability, the share, whatever its answers are, and pays

    x = g + (d - g) / share   where people graded it, with the difference d
    x = g                     where they did not

g is what the judge and the units before it let one expect. The mean of x is that of d whatever g is, so that a
judge that errs, or favours an arm, moves nothing. A stake that is multiplied by 1 + l (x - bound) shrinks on
average where the mean lies below the bound, as in `any_time`.

g is the regression of people's differences on the judge's over the units graded so far; it shrinks as
`prediction_powered` has it, and is people's own mean where the judge is no help. The payoffs are larger than
people's differences by 1 / share and allow smaller bets, which costs grades where arms differ much. So half of the
stake is put on people alone: whatever the judge is worth, no more than a factor of two is lost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.stats.any_time import BETS, log_above_process, log_mean_of_stakes, log_sign_flip_process

_FEWEST_TO_FIT = 6  # graded units before a judge counts. Assumption; validity does not hang on it
_OWN_WEIGHT = 5  # units' worth of zeros that people's own mean is shrunk by. Assumption, likewise


@dataclass(frozen=True, slots=True)
class Flipped:
    """Units in an order that knows nothing of their answers: people's difference and the judge's, each or None.

    `share` is the probability with which people were to grade each of them.
    """

    people: tuple[float | None, ...]
    judge: tuple[float | None, ...]
    share: float


@dataclass(frozen=True, slots=True)
class Payoffs:
    """What each unit pays, and the least that it could have paid is -reach. Arrays of any shape (..., T)."""

    x: np.ndarray
    reach: np.ndarray


def payoffs(people: np.ndarray, judge: np.ndarray, *, share: float) -> Payoffs:
    """`people` and `judge` hold differences (..., T) from -1 to 1, NaN where there are none."""
    shape = people.shape[:-1]
    n, sum_d, sum_f, sum_df, sum_ff, sum_dd, own_n, own_d = (np.zeros(shape) for _ in range(8))
    x, reach = np.empty(people.shape), np.empty(people.shape)
    for t in range(people.shape[-1]):
        d, f = people[..., t], judge[..., t]
        graded, judged = ~np.isnan(d), ~np.isnan(f)
        k = np.maximum(n, 1)
        spread_f, spread_d = sum_ff - sum_f**2 / k, sum_dd - sum_d**2 / k
        joint = sum_df - sum_d * sum_f / k
        usable = (n >= _FEWEST_TO_FIT) & (spread_f > 1e-9) & (spread_d > 1e-9) & (joint > 0)
        explained = np.where(usable, joint**2 / np.where(usable, spread_f * spread_d, 1), 0).clip(0, 0.999)
        ratio = (n - 2) * explained / (1 - explained)
        shrink = np.where(usable & (ratio > 1), 1 - 1 / np.maximum(ratio, 1), 0)
        weight = (shrink * joint / np.where(usable, spread_f, 1)).clip(0, 1)
        centre = sum_f / k
        own = own_d / (own_n + _OWN_WEIGHT)
        guess = np.where(judged, own + weight * (np.where(judged, f, 0) - centre), own).clip(-1, 1)
        at_most = np.where(judged, np.abs(own) + weight * (1 + np.abs(centre)), np.abs(own)).clip(0, 1)
        paid = np.where(graded, guess + (np.where(graded, d, 0) - guess) / share, guess)
        x[..., t], reach[..., t] = paid, (1 + at_most * (1 - share)) / share
        both, d0, f0 = graded & judged, np.where(graded, d, 0), np.where(judged, f, 0)
        n, sum_d, sum_f = n + both, sum_d + both * d0, sum_f + both * f0
        sum_df, sum_ff, sum_dd = sum_df + both * d0 * f0, sum_ff + both * f0**2, sum_dd + both * d0**2
        own_n, own_d = own_n + graded, own_d + d0
    return Payoffs(x, reach)


def log_assisted_above(paid: Payoffs, *, bound: float, sign: int = 1) -> np.ndarray:
    """The log of the stake, after each unit, against sign times the mean difference being `bound` or less."""
    bets_TL = BETS / (paid.reach[..., None] + abs(bound))
    growth_TL = np.log1p(np.maximum(-1 + 1e-300, (sign * paid.x - bound)[..., None] * bets_TL))
    return log_mean_of_stakes(growth_TL.cumsum(axis=-2))


def halves(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The log of a stake of which half was put on either process."""
    return np.asarray(np.logaddexp(one, other) - math.log(2))


def assisted_paths(units: Flipped, *, margin: float) -> dict[str, np.ndarray]:
    """The stakes of `any_time`, by name, after each unit that people graded, half of each helped by the judge."""
    people, judge = (np.array([math.nan if v is None else v for v in row]) for row in (units.people, units.judge))
    graded = ~np.isnan(people)
    gaps: Sequence[float] = people[graded]
    paid = payoffs(people, judge, share=units.share)

    def half(alone: np.ndarray, *, bound: float, sign: int) -> np.ndarray:
        return halves(alone, log_assisted_above(paid, bound=bound, sign=sign)[graded])

    flipped = [-gap for gap in gaps]
    return {
        "better": half(log_sign_flip_process(gaps), bound=0.0, sign=1),
        "worse": half(log_sign_flip_process(flipped), bound=0.0, sign=-1),
        "above": half(log_above_process(gaps, bound=-margin), bound=-margin, sign=1),
        "below": half(log_above_process(flipped, bound=-margin), bound=-margin, sign=-1),
    }
