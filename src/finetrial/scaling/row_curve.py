"""Fit how the loss falls with the rows that a model is tuned on, and say what more rows would bring.

    L(n) = floor + gain * n^-exponent,   floor >= 0, gain >= 0

n rows, L the mean loss of a held-out token. The form is that of Hestness et al. 2017 (arXiv 1712.00409) and, for
tuning, Hernandez et al. 2021 (arXiv 2102.01293). For each exponent of a grid floor and gain are a least-squares
line; the exponent with the least sum of squares is taken. Few sizes do not tell the exponent, and the interval says
so: the held-out texts are drawn anew with replacement, and each draw is fitted. It holds for new texts, not for new
training runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetrial.errors import UserError

FEWEST_SIZES = 3  # as many as the law has numbers
FEWEST_UNITS = 8  # held-out texts; of fewer the draws repeat each other. Assumption
_EXPONENTS = np.geomspace(0.02, 2.0, 120)
_DRAWS = 999  # so that the 2.5 % points are order statistics

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RowCurve:
    """The fitted law. A gain of 0: the loss did not fall with the rows, and the exponent means nothing."""

    floor: float
    gain: float
    exponent: float

    def loss_at(self, rows: float) -> float:
        """The mean loss of a held-out token, in nats, of a model tuned on so many rows."""
        return self.floor + self.gain * float(rows**-self.exponent)

    def rows_for(self, loss: float) -> float | None:
        """The rows at which the loss is reached; None where no number of rows does."""
        if self.gain == 0 or loss <= self.floor:
            return None
        return float((self.gain / (loss - self.floor)) ** (1 / self.exponent))


@dataclass(frozen=True, slots=True)
class RowForecast:
    """What so many rows would change of the loss at the most rows that were tuned on, in nats a token."""

    rows: float
    change: float  # below zero: less loss
    low: float | None  # 95 % over held-out texts; None: too few
    high: float | None


def fit_rows(rows: Sequence[float], losses: Sequence[float]) -> RowCurve:
    """The law through the losses at these numbers of rows.

    Raises UserError for fewer than three different numbers of rows.
    """
    _check(rows)
    floor, gain, exponent = _fit(np.asarray(rows, float), np.asarray(losses, float)[None])
    return RowCurve(float(floor[0]), float(gain[0]), float(exponent[0]))


def forecast_rows(
    rows: Sequence[float],
    nats: Sequence[Sequence[float]],
    *,
    tokens: Sequence[float],
    at: Sequence[float],
    seed: int,
) -> tuple[RowForecast, ...]:
    """The forecasts for `at` rows. `nats[s][u]` is what unit u of the held-out texts costs at rows[s], of
    tokens[u] tokens.

    Raises UserError for fewer than three different numbers of rows.
    """
    _check(rows)
    sizes, nats_SU, tokens_U = np.asarray(rows, float), np.asarray(nats, float), np.asarray(tokens, float)
    changes_A = _changes(sizes, nats_SU.sum(axis=1)[None] / tokens_U.sum(), at=at)[0]
    if tokens_U.size < FEWEST_UNITS:
        return tuple(RowForecast(n, float(change), None, None) for n, change in zip(at, changes_A, strict=True))
    generator = np.random.default_rng(seed)
    weights_DU = generator.multinomial(tokens_U.size, np.full(tokens_U.size, 1 / tokens_U.size), size=_DRAWS)
    losses_DS = (weights_DU @ nats_SU.T) / (weights_DU @ tokens_U)[:, None]
    low_A, high_A = np.quantile(_changes(sizes, losses_DS, at=at), (0.025, 0.975), axis=0)
    return tuple(
        RowForecast(n, float(change), float(low), float(high))
        for n, change, low, high in zip(at, changes_A, low_A, high_A, strict=True)
    )


def _check(rows: Sequence[float]) -> None:
    if len(set(rows)) < FEWEST_SIZES:
        raise UserError(
            "a curve over rows needs more sizes",
            got=len(set(rows)),
            expected=f"{FEWEST_SIZES} or more different ones",
        )


def _changes(sizes_S: Array, losses_DS: Array, *, at: Sequence[float]) -> Array:
    """[D, A]: the fitted loss at `at` rows less the fitted one at the most rows."""
    _, gain_D, exponent_D = _fit(sizes_S, losses_DS)
    at_A, most = np.asarray(at, float), sizes_S.max()
    powers_DA = at_A[None, :] ** -exponent_D[:, None] - (most**-exponent_D)[:, None]
    changes_DA: Array = gain_D[:, None] * powers_DA
    return changes_DA


def _fit(sizes_S: Array, losses_DS: Array) -> tuple[Array, Array, Array]:
    """Floor, gain and exponent [D] of each row of losses."""
    best_D = np.full(losses_DS.shape[0], np.inf)
    found_3D = np.zeros((3, losses_DS.shape[0]))
    mean_D = losses_DS.mean(axis=1)
    for exponent in _EXPONENTS:
        powers_S = sizes_S**-exponent
        centred_S = powers_S - powers_S.mean()
        gain_D = np.maximum(0.0, (losses_DS @ centred_S) / (centred_S @ centred_S))
        floor_D = mean_D - gain_D * powers_S.mean()
        below_D = floor_D < 0  # the best line through the origin then
        gain_D = np.where(below_D, np.maximum(0.0, (losses_DS @ powers_S) / (powers_S @ powers_S)), gain_D)
        floor_D = np.where(below_D, 0.0, floor_D)
        error_D = ((losses_DS - floor_D[:, None] - gain_D[:, None] * powers_S) ** 2).sum(axis=1)
        better_D = error_D < best_D
        best_D = np.where(better_D, error_D, best_D)
        found_3D = np.where(better_D, np.stack([floor_D, gain_D, np.full_like(gain_D, exponent)]), found_3D)
    return found_3D[0], found_3D[1], found_3D[2]
