"""Draw what arms' losses come to on all their rows, from pilots on a share of them, with what is uncertain.

An arm's pilots have rows x_1 < ... < x_P and losses y_p on one set of validation rows. The curve between and beyond
them is

    L(x) = c + d z(x),   z(x) = (x^-k - x_P^-k) / (x_1^-k - x_P^-k)

the law floor + gain x^-k of row_curve.py, written so that c is the loss at the last pilot and d the fall since the
first. For k = 0 it is a line in log x; for k < 0, which the law does not have, the fall still gets steeper.

What is uncertain, and how it comes in:

- the form: k is not known. Before the losses are seen each value of a grid from -0.5 to 1.5 is as likely as
  another; a third and further pilot weigh them. Assumption;
- the training run: each loss, that of the run on all rows too, lies off the curve with a standard deviation of
  NOISE of the loss, independent from arm to arm. Assumption; one pilot a share does not show it;
- the validation rows: they are drawn anew with replacement, the same ones for all arms, so that what all find hard
  does not count as a difference.

Everything is drawn together, DRAWS times. Shapes: D draws, P pilots, U validation rows, K exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOISE = (
    0.005  # of the loss: one training run's standard deviation about its curve. Assumption, see docs/decisions.md
)
DRAWS = 4000
EXPONENTS = tuple(float(k) for k in np.linspace(-0.5, 1.5, 41))
_NEAR_ZERO = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pilots:
    """The pilots of one arm, by their rows ascending. `nats[p][u]` is what validation row u cost pilot p."""

    rows: tuple[int, ...]
    full_rows: int
    nats: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FullForecast:
    """What each arm's loss comes to at all its rows, D draws of it, paired between arms; nats a token."""

    losses: Mapping[str, Array]  # arm -> [D]

    def best(self) -> dict[str, float]:
        """The share of draws in which each arm has the least loss; one that ties shares the draw."""
        arms = list(self.losses)
        losses_AD = np.stack([self.losses[arm] for arm in arms])
        is_best_AD = losses_AD == losses_AD.min(axis=0)
        shares_A = (is_best_AD / is_best_AD.sum(axis=0)).mean(axis=1)
        return {arm: float(share) for arm, share in zip(arms, shares_A, strict=True)}

    def middle(self, arm: str) -> float:
        """The median loss."""
        return float(np.median(self.losses[arm]))

    def interval(self, arm: str) -> tuple[float, float]:
        """The middle 95 % of the draws."""
        low, high = np.quantile(self.losses[arm], (0.025, 0.975))
        return float(low), float(high)


def forecast_full(
    pilots: Mapping[str, Pilots],
    *,
    tokens: Sequence[float],
    seed: int,
    noise: float = NOISE,
    exponents: Sequence[float] = EXPONENTS,
    draws: int = DRAWS,
) -> FullForecast:
    """The draws for every arm. Each has pilots on two or more numbers of rows, and all the same validation rows.

    `tokens` are those of the validation rows that carry loss, of one arm for all: by them nats become losses.
    """
    generator = np.random.default_rng(seed)
    tokens_U = np.asarray(tokens, float)
    count = tokens_U.size
    weights_DU = generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)
    weights_DU[weights_DU @ tokens_U == 0] = 1.0  # no row with a token was drawn
    below_D = weights_DU @ tokens_U
    found = {}
    for arm, own in pilots.items():
        losses_DP = (weights_DU @ np.asarray(own.nats, float).T) / below_D[:, None]
        found[arm] = _draw_one(own, losses_DP, noise=noise, exponents=exponents, generator=generator)
    return FullForecast(found)


def _places(rows: Array, *, full: float, exponent: float) -> tuple[Array, float]:
    """z of the pilots, and of all rows."""
    if abs(exponent) < _NEAR_ZERO:
        heights, at_full = -np.log(rows), -math.log(full)
    else:
        sign = 1.0 if exponent > 0 else -1.0
        heights, at_full = sign * rows**-exponent, sign * full**-exponent
    span = heights[0] - heights[-1]
    return (heights - heights[-1]) / span, float((at_full - heights[-1]) / span)


def _draw_one(
    own: Pilots, losses_DP: Array, *, noise: float, exponents: Sequence[float], generator: np.random.Generator
) -> Array:
    """[D] losses at all rows: an exponent by its weight, then the line's two numbers, then the run's own noise."""
    rows_P = np.asarray(own.rows, float) / own.full_rows
    draws = losses_DP.shape[0]
    sd_D = noise * losses_DP.mean(axis=1)
    weights_KD = np.zeros((len(exponents), draws))
    means_KD, spreads_K = np.zeros((len(exponents), draws)), np.zeros(len(exponents))
    for place, exponent in enumerate(exponents):
        z_P, z_full = _places(rows_P, full=1.0, exponent=exponent)
        lines_P2 = np.stack([np.ones_like(z_P), z_P], axis=1)
        inverse_22 = np.linalg.inv(lines_P2.T @ lines_P2)
        line_D2 = losses_DP @ lines_P2 @ inverse_22
        squares_D = ((losses_DP - line_D2 @ lines_P2.T) ** 2).sum(axis=1)
        at_full_2 = np.array([1.0, z_full])
        weights_KD[place] = 0.5 * math.log(np.linalg.det(inverse_22))
        if noise > 0:
            weights_KD[place] -= squares_D / (2 * sd_D**2)
        means_KD[place] = line_D2 @ at_full_2
        spreads_K[place] = math.sqrt(at_full_2 @ inverse_22 @ at_full_2 + 1.0)  # 1: of the run on all rows itself
    weights_KD = np.exp(weights_KD - weights_KD.max(axis=0))
    sums_KD = np.cumsum(weights_KD / weights_KD.sum(axis=0), axis=0)
    chosen_D = np.minimum((sums_KD < generator.random(draws)).sum(axis=0), len(exponents) - 1)
    drawn_D = means_KD[chosen_D, np.arange(draws)]
    drawn_D = drawn_D + sd_D * spreads_K[chosen_D] * generator.standard_normal(draws)
    above_D: Array = np.maximum(drawn_D, 0.0)
    return above_D
