"""Draw what arms' losses come to on all their rows, from pilots on a share of them, with what is uncertain.

An arm's pilots have rows x_1 < ... < x_P and losses y_p on one set of validation rows. The curve between and beyond
them is

    L(x) = c + d z(x),   z(x) = (x^-k - x_P^-k) / (x_1^-k - x_P^-k)

the law floor + gain x^-k of row_curve.py, written so that c is the loss at the last pilot and d the fall since the
first. For k = 0 it is a line in log x; for k < 0, which the law does not have, the fall still gets steeper.

What is uncertain, and how it comes in:

- the form: k is not known. Before the losses are seen each value of a grid from -0.5 to 1.5 is as likely as
  another; a third and further pilot weigh them. Assumption;
- the training run: each loss, that of the run on all rows too, lies off the curve with one standard deviation, as a
  share of the loss, for all arms of the trial. Two pilots do not show it: NOISES says how likely each is before
  losses are seen (assumption; benchmarks/early). From the third pilot on it is weighed by how far all arms' pilots
  lie off their curves;
- the validation rows: they are drawn anew with replacement, the same ones for all arms, so that what all find hard
  does not count as a difference.

Everything is drawn together, DRAWS times. Shapes: D draws, P pilots, U validation rows, K exponents, N noises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

USUAL_NOISE = 0.01  # of the loss: one training run's standard deviation about its curve. Assumption
# Twice or half as much is one standard deviation off: level -> how likely it is beforehand, not summing to 1.
NOISES = {USUAL_NOISE * 2**k: math.exp(-(k**2) / 2) for k in np.arange(-2.5, 3.01, 0.5).tolist()}
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
    noises: Mapping[float, float] = NOISES,
    exponents: Sequence[float] = EXPONENTS,
    draws: int = DRAWS,
) -> FullForecast:
    """The draws for every arm. Each has pilots on two or more numbers of rows, and all the same validation rows.

    `tokens` are those of the validation rows that carry loss, of one arm for all: by them nats become losses.
    `noises` are the standard deviations that a training run may have about its curve, as shares of its loss, each
    with how likely it is beforehand; zero may only stand alone.
    """
    generator = np.random.default_rng(seed)
    tokens_U = np.asarray(tokens, float)
    count = tokens_U.size
    weights_DU = generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)
    weights_DU[weights_DU @ tokens_U == 0] = 1.0  # no row with a token was drawn
    below_D = weights_DU @ tokens_U
    fits = {
        arm: _fit(own, (weights_DU @ np.asarray(own.nats, float).T) / below_D[:, None], exponents)
        for arm, own in pilots.items()
    }
    levels_N, before_N = np.asarray(list(noises), float), np.log(list(noises.values()))
    likely_ND = before_N[:, None] + sum(
        np.stack([_logsum(fit.log_weights(level)) for level in levels_N]) for fit in fits.values()
    )
    noise_D = levels_N[_drawn(likely_ND, generator)]
    return FullForecast({arm: _draw_one(fit, noise_D, generator=generator) for arm, fit in fits.items()})


@dataclass(frozen=True)
class _Fit:
    """One arm's line for each exponent, by least squares."""

    shapes_K: Array  # log of the weight that the pilots' places give it, whatever the losses
    squares_KD: Array  # residual sums of squares
    means_KD: Array  # at all rows
    spreads_K: Array  # standard deviation at all rows, in those of one run, the run's own included
    mean_D: Array  # loss of the pilots
    freedom: int  # pilots beyond two

    def log_weights(self, noise: float | Array) -> Array:
        """[K, D] log likelihoods of the exponents at one noise, or at each draw's, the line integrated out."""
        if np.ndim(noise) == 0 and not noise:
            return np.repeat(self.shapes_K[:, None], self.mean_D.size, axis=1)
        sd_D = noise * self.mean_D
        likely: Array = self.shapes_K[:, None] - self.squares_KD / (2 * sd_D**2) - self.freedom * np.log(sd_D)
        return likely


def _logsum(log_KD: Array) -> Array:
    """[D] log of the sums of exponentials."""
    most_D = log_KD.max(axis=0)
    summed: Array = most_D + np.log(np.exp(log_KD - most_D).sum(axis=0))
    return summed


def _drawn(log_KD: Array, generator: np.random.Generator) -> NDArray[np.int64]:
    """[D] one place of each draw's column, by weight."""
    weights_KD = np.exp(log_KD - log_KD.max(axis=0))
    sums_KD = np.cumsum(weights_KD / weights_KD.sum(axis=0), axis=0)
    found: NDArray[np.int64] = (sums_KD < generator.random(log_KD.shape[1])).sum(axis=0)
    below: NDArray[np.int64] = np.minimum(found, log_KD.shape[0] - 1)
    return below


def _places(rows: Array, *, full: float, exponent: float) -> tuple[Array, float]:
    """z of the pilots, and of all rows."""
    if abs(exponent) < _NEAR_ZERO:
        heights, at_full = -np.log(rows), -math.log(full)
    else:
        sign = 1.0 if exponent > 0 else -1.0
        heights, at_full = sign * rows**-exponent, sign * full**-exponent
    span = heights[0] - heights[-1]
    return (heights - heights[-1]) / span, float((at_full - heights[-1]) / span)


def _fit(own: Pilots, losses_DP: Array, exponents: Sequence[float]) -> _Fit:
    rows_P = np.asarray(own.rows, float) / own.full_rows
    shapes, squares, means, spreads = [], [], [], []
    for exponent in exponents:
        z_P, z_full = _places(rows_P, full=1.0, exponent=exponent)
        lines_P2 = np.stack([np.ones_like(z_P), z_P], axis=1)
        inverse_22 = np.linalg.inv(lines_P2.T @ lines_P2)
        line_D2 = losses_DP @ lines_P2 @ inverse_22
        at_full_2 = np.array([1.0, z_full])
        shapes.append(0.5 * math.log(np.linalg.det(inverse_22)))
        squares.append(((losses_DP - line_D2 @ lines_P2.T) ** 2).sum(axis=1))
        means.append(line_D2 @ at_full_2)
        spreads.append(math.sqrt(at_full_2 @ inverse_22 @ at_full_2 + 1.0))  # 1: of the run on all rows itself
    return _Fit(
        np.asarray(shapes),
        np.stack(squares),
        np.stack(means),
        np.asarray(spreads),
        losses_DP.mean(axis=1),
        len(own.rows) - 2,
    )


def _draw_one(fit: _Fit, noise_D: Array, *, generator: np.random.Generator) -> Array:
    """[D] losses at all rows: an exponent by its weight, then the line's two numbers, then the run's own noise."""
    silent = not noise_D.any()
    chosen_D = _drawn(fit.log_weights(0.0 if silent else noise_D), generator)
    drawn_D = fit.means_KD[chosen_D, np.arange(noise_D.size)]
    drawn_D = drawn_D + noise_D * fit.mean_D * fit.spreads_K[chosen_D] * generator.standard_normal(noise_D.size)
    above_D: Array = np.maximum(drawn_D, 0.0)
    return above_D
