"""What a fitted law advises at a budget and predicts for single runs, with intervals.

Thirty runs and more have intervals by bootstrap where one was made; fewer by the profile likelihood.

Shapes: B bootstrap samples, P = 5 coefficients (E, A, B, alpha, beta).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from finetrial.scaling.few_runs import few_run_intervals, run_intervals
from finetrial.scaling.fitting import Fit
from finetrial.scaling.interval import FEW_RUNS, Interval
from finetrial.scaling.laws import FLOPS_PER_PARAM_TOKEN
from finetrial.scaling.objective import Objective
from finetrial.scaling.quantities import BestLoss, BestSize, Coefficient
from finetrial.scaling.resampling import Bootstrap, inflated_residuals
from finetrial.scaling.training_runs import COEFFICIENTS, Runs

_LARGEST_LOG = 300.0  # e^300: beyond any size, and far from a float's end
_COMPUTED = 1e-6  # assumption: no measured losses agree with a law to a millionth


@dataclass(frozen=True)
class Decision:
    """What the law advises at a budget of fresh data, with intervals where they could be made."""

    flops: float
    params: float
    tokens: float
    loss: float
    extrapolation: float  # the budget as a multiple of the largest run fitted
    intervals: dict[str, tuple[float | None, float | None]] | None  # None as a bound: open on that side


@dataclass(frozen=True)
class Prediction:
    """The loss predicted for one run, and what came where it has been trained."""

    params: float
    tokens: float
    flops: float
    predicted: float
    interval: tuple[float | None, float | None] | None  # None without a bootstrap; its bounds as of a decision
    extrapolation: float  # its compute as a multiple of the largest run fitted
    measured: float | None = None
    line: int | None = None

    @property
    def covered(self) -> bool | None:
        if self.interval is None or self.measured is None:
            return None
        low, high = self.interval
        return (low is None or low <= self.measured) and (high is None or self.measured <= high)


def lies_on_law(fit: Fit) -> bool:
    """Whether the runs lie on the fitted law to the last digits: computed from one, they have no noise to tell an
    interval by."""
    residual_R = Objective.of(fit.runs, delta=fit.delta).residuals(fit.theta_P[None])[0]
    falls = (
        float(np.ptp(np.log(fit.runs.loss_R))) > 1000 * _COMPUTED
    )  # losses that are all one say nothing of a law
    return falls and float(np.sqrt((residual_R**2).mean())) < _COMPUTED


def coefficient_intervals(fit: Fit, *, sample: Bootstrap | None) -> dict[str, Interval] | None:
    """The interval of each coefficient; None for thirty runs and more without a bootstrap, and for runs that lie on
    the law."""
    if lies_on_law(fit):
        return None
    if len(fit.runs) < FEW_RUNS:
        found = few_run_intervals(fit, quantities=[Coefficient(name) for name in COEFFICIENTS])
        return dict(zip(COEFFICIENTS, found, strict=True))
    if sample is None:
        return None
    return {name: Interval(*sample.interval(name)) for name in COEFFICIENTS}


def optimum_of(coefficients_BP: np.ndarray, *, flops: float | np.ndarray) -> dict[str, np.ndarray]:
    """N*, D* and the loss there for each set of coefficients (Hoffmann et al. 2022, eq. 4)."""
    E, A, B, alpha, beta = coefficients_BP.T
    # in logarithms: 1 / (alpha + beta) may be a thousand where a bootstrap's refit ran into a bound
    budget = np.log(np.asarray(flops, dtype=float) / FLOPS_PER_PARAM_TOKEN)
    log_params = (np.log(alpha * A) - np.log(beta * B) + beta * budget) / (alpha + beta)
    log_params = np.clip(log_params, -_LARGEST_LOG, _LARGEST_LOG)
    log_tokens = budget - log_params
    first, second = (
        np.exp(np.clip(np.log(scale) - exponent * place, -_LARGEST_LOG, _LARGEST_LOG))
        for scale, exponent, place in ((A, alpha, log_params), (B, beta, log_tokens))
    )
    return {"params": np.exp(log_params), "tokens": np.exp(log_tokens), "loss": E + first + second}


def decide(fit: Fit, *, flops: float, sample: Bootstrap | None) -> Decision:
    """The best size, its data and its loss at a budget, with intervals."""
    point = np.array([[fit.coefficients[name] for name in COEFFICIENTS]])
    best = {name: float(values[0]) for name, values in optimum_of(point, flops=flops).items()}
    intervals: dict[str, tuple[float | None, float | None]] | None = None
    if lies_on_law(fit):
        pass
    elif len(fit.runs) < FEW_RUNS:
        size, loss = few_run_intervals(fit, quantities=[BestSize(flops), BestLoss(flops)])
        budget = flops / FLOPS_PER_PARAM_TOKEN
        # D* is the budget over N*, so that its interval is that of N* turned round
        low = None if size.high is None else budget / size.high
        high = None if size.low is None else budget / size.low
        intervals = {"params": (size.low, size.high), "tokens": (low, high), "loss": (loss.low, loss.high)}
    elif sample is not None:
        drawn = optimum_of(sample.coefficients_BP, flops=flops)
        intervals = {name: sample.interval_of(values) for name, values in drawn.items()}
    return Decision(
        flops=flops,
        **best,
        extrapolation=flops / float(fit.runs.flops_R.max()),
        intervals=intervals,
    )


def bands(fit: Fit, *, flops_F: np.ndarray, sample: Bootstrap | None) -> dict[str, np.ndarray]:
    """Both ends of the best size and of its loss at each budget, shape (2, F), for a picture; nan: open."""
    if len(fit.runs) < FEW_RUNS:
        budgets = [float(flops) for flops in flops_F]
        found = few_run_intervals(fit, quantities=[*map(BestSize, budgets), *map(BestLoss, budgets)])
        size_2F, loss_2F = np.split(np.array([[i.low, i.high] for i in found], dtype=float).T, 2, axis=1)
        return {"params": size_2F, "loss": loss_2F}
    assert sample is not None, "thirty runs and more have bands by bootstrap"
    drawn = optimum_of(sample.coefficients_BP, flops=flops_F[:, None])
    return {name: np.quantile(drawn[name], sample.shares(), axis=1) for name in ("params", "loss")}


def predict(fit: Fit, *, places: Sequence[tuple[float, float]], sample: Bootstrap | None) -> tuple[Prediction, ...]:
    """The loss of a run of fresh data at each (N, D).

    Intervals hold the law's uncertainty and one run's own noise.
    """
    return tuple(
        Prediction(
            params=params,
            tokens=tokens,
            flops=FLOPS_PER_PARAM_TOKEN * params * tokens,
            predicted=fit.law.loss(params, tokens=tokens),
            interval=interval,
            extrapolation=FLOPS_PER_PARAM_TOKEN * params * tokens / float(fit.runs.flops_R.max()),
        )
        for (params, tokens), interval in zip(places, _run_intervals(fit, places, sample=sample), strict=True)
    )


def predict_held_out(fit: Fit, *, held_out: Runs, sample: Bootstrap | None) -> tuple[Prediction, ...]:
    """Predictions of runs that the fit has not seen, beside their truth."""
    places = list(zip(held_out.params_R.tolist(), held_out.tokens_R.tolist(), strict=True))
    return tuple(
        replace(row, measured=float(held_out.loss_R[index]), line=int(held_out.lines_R[index]))
        for index, row in enumerate(predict(fit, places=places, sample=sample))
    )


def _run_intervals(
    fit: Fit, places: Sequence[tuple[float, float]], *, sample: Bootstrap | None
) -> list[tuple[float | None, float | None] | None]:
    if not places:
        return []
    if (sample is None and len(fit.runs) >= FEW_RUNS) or lies_on_law(fit):
        return [None] * len(places)
    if sample is None:
        return [(interval.low, interval.high) for interval in run_intervals(fit, places=places)]
    return [one_run_interval(fit, sample=sample, params=params, tokens=tokens) for params, tokens in places]


def one_run_interval(fit: Fit, *, sample: Bootstrap, params: float, tokens: float) -> tuple[float, float]:
    """Where the loss of one more run falls: the refitted law with a run's own residual, drawn anew.

    Whether residuals are alike in per cent or in nats matters far from the runs; the interval is the wider one.
    """
    generator = np.random.default_rng([sample.seed, 1])  # the same for every run, whichever are asked for
    residual_R = inflated_residuals(Objective.of(fit.runs, delta=fit.delta), theta_P=fit.theta_P)
    drawn_B = generator.integers(len(residual_R), size=len(sample.coefficients_BP))
    E, A, B, alpha, beta = sample.coefficients_BP.T
    loss_B = E + A / params**alpha + B / tokens**beta
    shares = sample.interval_of(loss_B * np.exp(residual_R[drawn_B]))
    nats = sample.interval_of(loss_B + (residual_R * fit.runs.loss_R)[drawn_B])
    return min(shares[0], nats[0]), max(shares[1], nats[1])
