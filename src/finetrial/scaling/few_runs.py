"""Intervals and predictions of a fit to few runs, and designs from which no law can be told.

Whether the noise is the same in nats or in per cent few runs cannot tell, so each end is the wider of the two.

Shapes: S data sets of one design, R runs, Q quantities, P = 5 coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from finetrial.scaling.fitting import Fit, projected_starts
from finetrial.scaling.interval import FEWEST_RUNS, LEVEL, Interval
from finetrial.scaling.likelihood import Ends, least_squares, profile_ends
from finetrial.scaling.objective import Objective, P
from finetrial.scaling.quantities import Centres, Coefficient, LossAt, Quantity
from finetrial.scaling.training_runs import Runs

_LARGEST_LOG = 700.0  # a float ends at e^709
_ONE_LINE = 0.1  # assumption: runs within 10 % of one line in ln N and ln D have no second direction


@dataclass(frozen=True)
class FewRunEnds:
    """The wider of both noise models' intervals, and each data set's noise."""

    ends: Ends
    noise_log_S: np.ndarray  # standard deviation of log L
    noise_nats_S: np.ndarray  # standard deviation of L


def why_not_identified(runs: Runs) -> str | None:
    """The reason why no law can be told from runs of this design, whatever their losses; None where one can."""
    too_few = None
    if len(runs) < FEWEST_RUNS:
        left = {0: "none", 1: "one"}.get(len(runs) - P, str(len(runs) - P))
        too_few = (
            f"{len(runs)} runs for 5 coefficients leave {left} to tell the noise by; it takes at least "
            f"{FEWEST_RUNS} runs, on several budgets"
        )
    centred_R2 = np.stack([np.log(runs.params_R), np.log(runs.tokens_R)], axis=1)
    centred_R2 = centred_R2 - centred_R2.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred_R2, full_matrices=False)
    if spread[1] / np.sqrt(len(runs)) > _ONE_LINE:
        return too_few
    slope = axes[0, 1] / axes[0, 0] if abs(axes[0, 0]) > 1e-9 else np.inf
    if abs(slope + 1) < 0.25:
        budget = float(np.exp(np.log(runs.flops_R).mean()))
        return (
            f"every run is on one budget, {budget:.3g} FLOPs: more parameters always went with fewer tokens, and "
            "the worth of either cannot be told; add runs on two other budgets"
        )
    if abs(slope - 1) < 0.25:
        ratio = float(np.exp((np.log(runs.tokens_R) - np.log(runs.params_R)).mean()))
        return (
            f"every run has about {ratio:.3g} tokens a parameter: parameters and tokens always grew together, and "
            "the worth of either cannot be told; add runs with more and with fewer tokens a parameter"
        )
    return (
        "parameters and tokens of the runs lie on one line, so that the worth of either cannot be told; add runs "
        "of the same sizes on other numbers of tokens"
    )


def why_undetermined(intervals: Mapping[str, Interval]) -> str | None:
    """The reason why a fit says nothing about sizes or data, though the design could have; None where it does."""
    matters = {"alpha": "parameters", "beta": "tokens"}
    silent = [what for name, what in matters.items() if intervals[name].unbounded]
    if not silent:
        return None
    return (
        f"the losses do not show how {' and '.join(silent)} matter: the runs reject no exponent of "
        f"{'theirs' if len(silent) == 1 else 'either'}; wider ranges, more runs or less noise can"
    )


def few_run_ends(problem: Objective, *, loss_SR: np.ndarray, quantities: Sequence[Quantity]) -> FewRunEnds:
    """Profile-likelihood intervals of every data set: the design of `problem`, the losses of each row."""
    problem = replace(problem, log_loss_R=np.log(loss_SR))
    starts = np.stack(
        [projected_starts(replace(problem, log_loss_R=np.log(loss_R)), loss_R=loss_R) for loss_R in loss_SR]
    )
    freedom = loss_SR.shape[1] - P
    # squares of log L, and squares of L: with L near its measured value dL = L dlog L
    middle_S1 = np.exp(np.log(loss_SR).mean(axis=1, keepdims=True))
    found, noise = [], []
    for weights_SR in (np.ones_like(loss_SR), (loss_SR / middle_S1) ** 2):
        best = least_squares(problem, starts, weights_SR=weights_SR)
        found.append(profile_ends(problem, best, weights_SR=weights_SR, quantities=quantities))
        noise.append(np.sqrt(2 * best.value_S / freedom))
    ends = Ends(
        np.minimum(found[0].low_SQ, found[1].low_SQ),  # nan, an open side, wins
        np.maximum(found[0].high_SQ, found[1].high_SQ),
    )
    return FewRunEnds(ends, noise[0], noise[1] * middle_S1[:, 0])


def few_run_intervals(fit: Fit, *, quantities: Sequence[Quantity]) -> tuple[Interval, ...]:
    """The interval of each quantity; None as a bound is an open side. The fit's own value is always inside."""
    problem = Objective.of(fit.runs, delta=fit.delta)
    ends = few_run_ends(problem, loss_SR=fit.runs.loss_R[None], quantities=quantities).ends
    centres = Centres.of(problem)
    intervals = []
    for quantity, low, high in zip(quantities, ends.low_SQ[0], ends.high_SQ[0], strict=True):
        value = float(quantity.evaluate(fit.theta_P[None], centres)[0][0])
        value = float(np.exp(min(value, _LARGEST_LOG))) if quantity.logarithmic else value
        # E is positive by its form: where even a vanishing E is not rejected, its interval begins at zero
        open_low = 0.0 if quantity == Coefficient("E") else None
        intervals.append(
            Interval(
                open_low if np.isnan(low) else min(float(low), value),
                None if np.isnan(high) else max(float(high), value),
            )
        )
    return tuple(intervals)


def run_intervals(fit: Fit, *, places: Sequence[tuple[float, float]]) -> tuple[Interval, ...]:
    """For one more run at each (N, D) the interval of its loss: the law's uncertainty and the run's own noise."""
    quantities = tuple(LossAt(params, tokens) for params, tokens in places)
    problem = Objective.of(fit.runs, delta=fit.delta)
    found = few_run_ends(problem, loss_SR=fit.runs.loss_R[None], quantities=quantities)
    low_SQ, high_SQ = with_noise(
        found, middle_SQ=np.array([[fit.law.loss(n, tokens=d) for n, d in places]]), runs=len(fit.runs)
    )
    return tuple(
        Interval(*(None if np.isnan(end) else float(end) for end in pair))
        for pair in zip(low_SQ[0], high_SQ[0], strict=True)
    )


def with_noise(found: FewRunEnds, *, middle_SQ: np.ndarray, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of losses, widened on each side by one run's noise: the squares of both half-widths add up."""
    noise_SQ = np.maximum(found.noise_log_S[:, None], found.noise_nats_S[:, None] / middle_SQ)
    own_SQ = float(stdtrit(runs - P, (1 + LEVEL) / 2)) * noise_SQ
    below_SQ = np.maximum(np.log(middle_SQ) - np.log(found.ends.low_SQ), 0)
    above_SQ = np.maximum(np.log(found.ends.high_SQ) - np.log(middle_SQ), 0)
    return (
        middle_SQ * np.exp(-np.sqrt(below_SQ**2 + own_SQ**2)),
        middle_SQ * np.exp(np.sqrt(above_SQ**2 + own_SQ**2)),
    )
