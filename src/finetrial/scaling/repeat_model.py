"""The distance of the law of repeated data from the runs, for many constants at once.

L = E + A / N'^alpha + B / D'^beta with D' = U + U R* (1 - exp(-(e - 1) / R*)) and N' likewise beyond U_N = min(N,
N_opt(fresh tokens)) (Muennighoff et al. 2023, eq. 5 to 7).

Shapes: R runs stand last; the constants may carry leading axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.runs import Runs


@dataclass(frozen=True)
class Laws:
    """Coefficients of many base laws, each array of shape (laws, 1) against the runs."""

    E: np.ndarray
    A: np.ndarray
    B: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


@dataclass(frozen=True)
class RepeatedRuns:
    """Runs with what does not depend on any constant."""

    runs: Runs
    unique_R: np.ndarray
    fresh_epochs_R: np.ndarray  # at most one
    further_epochs_R: np.ndarray
    log_loss_R: np.ndarray
    weight_R: np.ndarray | float = 1.0  # of each run's residual

    @staticmethod
    def of(runs: Runs) -> RepeatedRuns:
        unique_R = runs.tokens_R if runs.unique_tokens_R is None else runs.unique_tokens_R
        return RepeatedRuns(
            runs,
            unique_R,
            np.minimum(runs.epochs_R, 1.0),
            np.maximum(0.0, runs.epochs_R - 1),
            np.log(runs.loss_R),
        )

    def weighted(self, weight_R: np.ndarray) -> RepeatedRuns:
        return replace(self, weight_R=weight_R)

    def excess_R(self, base: ParametricLaw | Laws) -> np.ndarray:
        """N / U_N - 1: parameters beyond what the fresh data deserve, as a multiple of those."""
        fresh_R = self.unique_R * self.fresh_epochs_R
        # G itself overflows at the edges of a search
        log_g = (np.log(base.alpha * base.A) - np.log(base.beta * base.B)) / (base.alpha + base.beta)
        log_optimal_R = log_g + base.beta / base.alpha * (log_g + np.log(fresh_R))
        excess_R: np.ndarray = np.expm1(np.clip(np.log(self.runs.params_R) - log_optimal_R, 0.0, 200.0))
        return excess_R

    def residuals(
        self, base: ParametricLaw | Laws, *, log_tokens: np.ndarray, log_params: np.ndarray
    ) -> np.ndarray:
        """log L measured minus predicted, for constants R* = exp(log_tokens), R_N* = exp(log_params)."""
        r_tokens = np.exp(np.asarray(log_tokens, dtype=float))[..., None]
        r_params = np.exp(np.asarray(log_params, dtype=float))[..., None]
        worth = self.fresh_epochs_R - r_tokens * np.expm1(-self.further_epochs_R / r_tokens)
        excess_R = self.excess_R(base)
        size = self.runs.params_R / (1 + excess_R) * (1 - r_params * np.expm1(-excess_R / r_params))
        predicted = base.E + base.A * size**-base.alpha + base.B * (self.unique_R * worth) ** -base.beta
        residuals: np.ndarray = (self.log_loss_R - np.log(predicted)) * self.weight_R
        return residuals


def huber(residual: np.ndarray, *, delta: float) -> np.ndarray:
    size = np.abs(residual)
    inside = np.minimum(size, delta)
    penalty: np.ndarray = inside * (size - 0.5 * inside)
    return penalty
