"""The runs that a fit hangs on, and what the highest losses do to it.

Shapes: K refits, R runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetrial.scaling.decisions import optimum_of
from finetrial.scaling.fitting import Fit
from finetrial.scaling.newton import continued
from finetrial.scaling.objective import Objective
from finetrial.scaling.training_runs import COEFFICIENTS, Runs

HIGHEST = 5  # how many of the highest losses are tried together: Besiroglu et al. 2024 drop five


@dataclass(frozen=True)
class RunInfluence:
    """What leaving one run out does, as ratios of new to old."""

    line: int
    params: float
    tokens: float
    loss: float
    residual: float  # log L measured minus log L predicted
    prediction_shift: float  # root mean square change of log L predicted over all runs, Cook's measure of influence
    coefficient_ratios: dict[str, float]
    decision_params_ratio: float  # N* at the budget without the run over N* with it
    loss_change: float  # the loss predicted at the budget, without the run minus with it


@dataclass(frozen=True)
class GroupInfluence:
    """The coefficients without the highest losses, beside those with them."""

    dropped: int
    lines: tuple[int, ...]
    coefficients: dict[str, float]
    largest_ratio: float  # the coefficient that moves most: new over old, or its inverse where that is larger
    moved: str


@dataclass(frozen=True)
class Influence:
    runs: tuple[RunInfluence, ...]  # the most influential first
    highest_losses: GroupInfluence | None  # None with too few runs left


def influence_of(fit: Fit, *, flops: float, top: int = 5) -> Influence:
    """Refit without each run, and without the highest losses together; masked influence hides from the first."""
    runs = len(fit.runs)
    problem = Objective.of(fit.runs, delta=fit.delta)
    weights_KR = np.ones((runs, runs)) - np.eye(runs)
    rows: tuple[RunInfluence, ...] = ()
    if runs > len(COEFFICIENTS):
        found = continued(
            problem,
            np.tile(fit.theta_P, (runs, 1)),
            weights_BR=weights_KR,
            widest=10 * fit.delta,
        )
        rows = _rank(fit, problem=problem, theta_KP=found.theta_BP, flops=flops)
    return Influence(rows[:top], _without_highest(fit, problem=problem))


def _rank(fit: Fit, *, problem: Objective, theta_KP: np.ndarray, flops: float) -> tuple[RunInfluence, ...]:
    """Every run with what leaving it out does, the largest shift of predictions first (Cook 1977)."""
    coefficients_KP = problem.to_coefficients(theta_KP)
    whole_P = np.array([fit.coefficients[name] for name in COEFFICIENTS])
    before = optimum_of(whole_P[None], flops=flops)
    after = optimum_of(coefficients_KP, flops=flops)
    ratio_KP = coefficients_KP / whole_P
    residual_R = problem.residuals(fit.theta_P[None])[0]
    runs: Runs = fit.runs
    shift_K = np.sqrt(((problem.residuals(theta_KP) - residual_R) ** 2).mean(axis=1))
    return tuple(
        RunInfluence(
            line=int(runs.lines_R[k]),
            params=float(runs.params_R[k]),
            tokens=float(runs.tokens_R[k]),
            loss=float(runs.loss_R[k]),
            residual=float(residual_R[k]),
            prediction_shift=float(shift_K[k]),
            coefficient_ratios={n: float(v) for n, v in zip(COEFFICIENTS, ratio_KP[k], strict=True)},
            decision_params_ratio=float(after["params"][k] / before["params"][0]),
            loss_change=float(after["loss"][k] - before["loss"][0]),
        )
        for k in np.argsort(-shift_K, kind="stable")
    )


def _without_highest(fit: Fit, *, problem: Objective) -> GroupInfluence | None:
    runs = fit.runs
    if len(runs) < len(COEFFICIENTS) + HIGHEST + 1:
        return None
    highest_K = np.argsort(-runs.loss_R, kind="stable")[:HIGHEST]
    weights_1R = np.ones((1, len(runs)))
    weights_1R[0, highest_K] = 0.0
    found = continued(problem, fit.theta_P[None], weights_BR=weights_1R)
    values_P = problem.to_coefficients(found.theta_BP)[0]
    coefficients = {name: float(value) for name, value in zip(COEFFICIENTS, values_P, strict=True)}
    size = {name: abs(np.log(coefficients[name] / fit.coefficients[name])) for name in COEFFICIENTS}
    moved = max(size, key=lambda name: size[name])
    return GroupInfluence(
        dropped=HIGHEST,
        lines=tuple(int(runs.lines_R[k]) for k in highest_K),
        coefficients=coefficients,
        largest_ratio=float(np.exp(size[moved])),
        moved=moved,
    )
