"""How sure are a fit's coefficients, its decision and its predictions?

The bootstrap refits resampled runs, all of a batch at once. Two schemes: `runs` draws whole runs with replacement,
for many runs; `residuals` keeps the design and redraws the errors around the fit, for a ladder of a few runs, where
drawing runs would often lose the only large one.

Shapes: B bootstrap samples, R runs, P = 5 coefficients (E, A, B, alpha, beta).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from finetrial.scaling.fitting import Fit
from finetrial.scaling.newton import Minima, continued
from finetrial.scaling.objective import Objective
from finetrial.scaling.runs import COEFFICIENTS, Runs

LEVEL = 0.95
_BATCH = 125
FEW_RUNS = 30  # assumption: below so many runs errors are redrawn rather than runs

Progress = Callable[[int, int], None]


class Scheme(StrEnum):
    runs = "runs"
    residuals = "residuals"


@dataclass(frozen=True)
class Bootstrap:
    """Refitted coefficients. Fits that ran into a bound of the search are kept and counted."""

    coefficients_BP: np.ndarray
    scheme: Scheme
    seed: int
    at_bound: int
    not_converged: int

    def interval(self, name: str) -> tuple[float, float]:
        return percentile_interval(self.coefficients_BP[:, COEFFICIENTS.index(name)])


@dataclass(frozen=True)
class Decision:
    """What the law advises at a budget of fresh data, with intervals where a bootstrap was made."""

    flops: float
    params: float
    tokens: float
    loss: float
    extrapolation: float  # the budget as a multiple of the largest run fitted
    intervals: dict[str, tuple[float, float]] | None


@dataclass(frozen=True)
class Prediction:
    """The loss predicted for one run, and what came where it has been trained."""

    params: float
    tokens: float
    flops: float
    predicted: float
    interval: tuple[float, float] | None  # None without a bootstrap
    extrapolation: float  # its compute as a multiple of the largest run fitted
    measured: float | None = None
    line: int | None = None

    @property
    def covered(self) -> bool | None:
        if self.interval is None or self.measured is None:
            return None
        return self.interval[0] <= self.measured <= self.interval[1]


def percentile_interval(values_B: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    low, high = np.quantile(values_B, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def default_scheme(runs: Runs) -> Scheme:
    return Scheme.residuals if len(runs) < FEW_RUNS else Scheme.runs


def bootstrap(
    fit: Fit, *, count: int, seed: int, scheme: Scheme | None = None, progress: Progress | None = None
) -> Bootstrap:
    """Refit `count` resamples, each from every optimum known, and keep the best of those."""
    scheme = scheme or default_scheme(fit.runs)
    generator = np.random.default_rng(seed)
    problem = Objective.of(fit.runs, delta=fit.delta)
    starts_SP = np.array([fit.theta_P, *(optimum.theta_P for optimum in fit.other_optima[:3])])
    coefficients, bounds, stuck, finished = [], 0, 0, 0
    while finished < count:
        batch = min(_BATCH, count - finished)
        found = (
            _refit_runs(problem, starts_SP, batch=batch, generator=generator)
            if scheme is Scheme.runs
            else _refit_residuals(problem, starts_SP, fit=fit, batch=batch, generator=generator)
        )
        coefficients.append(problem.to_coefficients(found.theta_BP))
        bounds += int(found.at_bound_B.sum())
        stuck += int((~found.converged_B).sum())
        finished += batch
        if progress is not None:
            progress(finished, count)
    return Bootstrap(np.concatenate(coefficients), scheme, seed, bounds, stuck)


def _refit_runs(problem: Objective, starts_SP: np.ndarray, *, batch: int, generator: np.random.Generator) -> Minima:
    runs = problem.runs
    weights_BR = generator.multinomial(runs, np.full(runs, 1 / runs), size=batch).astype(float)
    return _best_of(problem, starts_SP, weights_BR=weights_BR)


def _refit_residuals(
    problem: Objective, starts_SP: np.ndarray, *, fit: Fit, batch: int, generator: np.random.Generator
) -> Minima:
    residual_R = inflated_residuals(problem, theta_P=fit.theta_P)
    fitted_R = problem.log_loss_R - problem.residuals(fit.theta_P[None])[0]
    drawn_BR = fitted_R + generator.choice(residual_R, size=(batch, len(residual_R)))
    ones_BR = np.ones((batch, len(residual_R)))
    return _best_of(replace(problem, log_loss_R=drawn_BR), starts_SP, weights_BR=ones_BR)


def inflated_residuals(problem: Objective, *, theta_P: np.ndarray) -> np.ndarray:
    """Residuals of log L, centred, and larger by sqrt(R / (R - 5)) for the coefficients that were fitted."""
    residual_R = problem.residuals(theta_P[None])[0]
    residual_R = residual_R - np.median(residual_R)
    runs = len(residual_R)
    return residual_R * np.sqrt(runs / max(1, runs - len(COEFFICIENTS)))


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
        return np.stack([getattr(result, name) for result in results])[best_B, picked]

    return Minima(pick("theta_BP"), pick("value_B"), pick("converged_B"), pick("at_bound_B"))


def optimum_of(coefficients_BP: np.ndarray, *, flops: float) -> dict[str, np.ndarray]:
    """N*, D* and the loss there for each set of coefficients (Hoffmann et al. 2022, eq. 4)."""
    E, A, B, alpha, beta = coefficients_BP.T
    g = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    params = g * (flops / 6) ** (beta / (alpha + beta))
    tokens = flops / 6 / params
    loss = E + A / params**alpha + B / tokens**beta
    return {"params": params, "tokens": tokens, "loss": loss}


def decide(fit: Fit, *, flops: float, sample: Bootstrap | None) -> Decision:
    """The best size, its data and its loss at a budget, with bootstrap intervals."""
    point = np.array([[fit.coefficients[name] for name in COEFFICIENTS]])
    best = {name: float(values[0]) for name, values in optimum_of(point, flops=flops).items()}
    intervals = None
    if sample is not None:
        intervals = {
            name: percentile_interval(values)
            for name, values in optimum_of(sample.coefficients_BP, flops=flops).items()
        }
    return Decision(
        flops=flops,
        **best,
        extrapolation=flops / float(fit.runs.flops_R.max()),
        intervals=intervals,
    )


def predict_run(fit: Fit, *, params: float, tokens: float, sample: Bootstrap | None) -> Prediction:
    """The loss of one run of fresh data; its interval holds the fit's uncertainty and one run's own scatter."""
    interval = None
    if sample is not None:
        problem = Objective.of(fit.runs, delta=fit.delta)
        generator = np.random.default_rng([sample.seed, 1])
        residual_R = inflated_residuals(problem, theta_P=fit.theta_P)
        scatter_B = np.exp(generator.choice(residual_R, size=len(sample.coefficients_BP)))
        E, A, B, alpha, beta = sample.coefficients_BP.T
        interval = percentile_interval((E + A / params**alpha + B / tokens**beta) * scatter_B)
    return Prediction(
        params=params,
        tokens=tokens,
        flops=6 * params * tokens,
        predicted=fit.law.loss(params, tokens=tokens),
        interval=interval,
        extrapolation=6 * params * tokens / float(fit.runs.flops_R.max()),
    )


def predict_held_out(fit: Fit, *, held_out: Runs, sample: Bootstrap | None) -> tuple[Prediction, ...]:
    """Predictions of runs that the fit has not seen, beside their truth."""
    return tuple(
        replace(
            predict_run(
                fit,
                params=float(held_out.params_R[index]),
                tokens=float(held_out.tokens_R[index]),
                sample=sample,
            ),
            measured=float(held_out.loss_R[index]),
            line=int(held_out.lines_R[index]),
        )
        for index in range(len(held_out))
    )
