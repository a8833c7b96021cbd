"""The bootstrap of a fit: whole runs are drawn with replacement and the law is refitted, all of a batch at once.

For thirty runs and more. Its percentiles are widened for the coefficients that were fitted (Hesterberg 2015, What
Teachers Should Know About the Bootstrap, section 5.2), for plain ones are too narrow. Fewer runs have the profile
likelihood of few_runs.py instead.

Shapes: B bootstrap samples, R runs, P = 5 coefficients (E, A, B, alpha, beta).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from finetrial.scaling.fitting import Fit
from finetrial.scaling.interval import LEVEL
from finetrial.scaling.newton import Minima, continued
from finetrial.scaling.objective import Objective
from finetrial.scaling.training_runs import COEFFICIENTS

_BATCH = 125

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Bootstrap:
    """Refitted coefficients. Fits that ran into a bound of the search are kept and counted."""

    coefficients_BP: np.ndarray
    runs: int
    seed: int
    at_bound: int
    not_converged: int

    def interval(self, name: str) -> tuple[float, float]:
        return self.interval_of(self.coefficients_BP[:, COEFFICIENTS.index(name)])

    def interval_of(self, values_B: np.ndarray) -> tuple[float, float]:
        """The interval of a quantity from its value in every refit."""
        low, high = np.quantile(values_B, self.shares())
        return float(low), float(high)

    def shares(self) -> tuple[float, float]:
        """The two shares of refits between which a 95 % interval lies: about .023 and .977 at 240 runs."""
        freedom = self.runs - len(COEFFICIENTS)
        quantile = np.sqrt(self.runs / freedom) * stdtrit(freedom, (1 + LEVEL) / 2)
        outside = float(ndtr(-quantile))
        return outside, 1 - outside


def bootstrap(fit: Fit, *, count: int, seed: int, progress: Progress | None = None) -> Bootstrap:
    """Refit `count` resamples, each from every optimum known, and keep the best of those."""
    generator = np.random.default_rng(seed)
    problem = Objective.of(fit.runs, delta=fit.delta)
    starts_SP = np.array([fit.theta_P, *(optimum.theta_P for optimum in fit.other_optima[:3])])
    runs = problem.runs
    coefficients, bounds, stuck, finished = [], 0, 0, 0
    while finished < count:
        batch = min(_BATCH, count - finished)
        weights_BR = generator.multinomial(runs, np.full(runs, 1 / runs), size=batch).astype(float)
        found = _best_of(problem, starts_SP, weights_BR=weights_BR)
        coefficients.append(problem.to_coefficients(found.theta_BP))
        bounds += int(found.at_bound_B.sum())
        stuck += int((~found.converged_B).sum())
        finished += batch
        if progress is not None:
            progress(finished, count)
    return Bootstrap(np.concatenate(coefficients), runs, seed, bounds, stuck)


def inflated_residuals(problem: Objective, *, theta_P: np.ndarray) -> np.ndarray:
    """Residuals of log L, centred, and larger by sqrt(R / (R - 5)) for the coefficients that were fitted."""
    residual_R = problem.residuals(theta_P[None])[0]
    residual_R = residual_R - np.median(residual_R)
    runs = len(residual_R)
    inflated_R: np.ndarray = residual_R * np.sqrt(runs / max(1, runs - len(COEFFICIENTS)))
    return inflated_R


def _best_of(problem: Objective, starts_SP: np.ndarray, *, weights_BR: np.ndarray) -> Minima:
    """Minimise every sample from every start and keep each sample's best."""
    batch = len(weights_BR)
    results = [
        continued(problem, np.tile(start_P, (batch, 1)), weights_BR=weights_BR, widest=problem.delta * 10)
        for start_P in starts_SP
    ]
    best_B = np.argmin([result.value_B for result in results], axis=0)
    picked = np.arange(batch)

    def pick(name: str) -> np.ndarray:
        picked_B: np.ndarray = np.stack([getattr(result, name) for result in results])[best_B, picked]
        return picked_B

    return Minima(pick("theta_BP"), pick("value_B"), pick("converged_B"), pick("at_bound_B"))
