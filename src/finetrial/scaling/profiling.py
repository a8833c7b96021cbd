"""The values of each coefficient that the runs do not reject, and whether they reject any.

The profile fixes one coefficient, minimises over the rest and follows the objective up. A Huber objective is no
log-likelihood, so its rise is measured against what resampling would do: with H the Hessian and G the sum of the
outer products of the runs' gradients, 2 (Q - Q_min) / kappa_j is about chi-squared with one degree of freedom for
kappa_j = (H^-1 G H^-1)_jj / (H^-1)_jj (Huber 1967; Royall 1986). Runs of unequal scatter are allowed for. Where the
rise stays under the threshold up to the bounds of the search, the interval is open on that side and the coefficient
is not identified.

Shapes: R runs, P = 5 coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import stdtrit

from finetrial.scaling.fitting import Fit
from finetrial.scaling.interval import FEW_RUNS, LEVEL, Interval
from finetrial.scaling.newton import LOWER_P, UPPER_P, continued, minimise
from finetrial.scaling.objective import Objective, P
from finetrial.scaling.training_runs import COEFFICIENTS

_FEWEST_INSIDE = 20  # runs within delta needed to read E[psi'] off them directly
_COORDINATE = {"A": 0, "B": 1, "E": 2, "alpha": 3, "beta": 4}
_STRIDES = (0.3, 0.7, 1.0, 1.4, 2.0, 3.0, 4.5, 7.0, 11.0, 17.0, 27.0, 45.0, 80.0, 160.0, 400.0, 1000.0)


def objective_scale(residual_R: np.ndarray, *, delta: float, coefficients: int = P) -> float:
    """kappa = E[psi^2] / E[psi'] of the residuals, with R - P in place of R."""
    psi_R = np.clip(residual_R, -delta, delta)
    runs = len(residual_R)
    mean_square = float((psi_R**2).sum()) / max(1, runs - coefficients)
    inside = int((np.abs(residual_R) <= delta).sum())
    if inside >= min(_FEWEST_INSIDE, runs):
        return mean_square / (inside / runs)
    # few residuals within delta: the density at zero from a wider window (Silverman's rule on the absolute median)
    window = max(delta, 1.06 * 1.4826 * float(np.median(np.abs(residual_R))) * runs**-0.2)
    density = float((np.abs(residual_R) <= window).mean()) / (2 * window)
    scale: float = mean_square / min(1.0, max(2 * delta * density, 1e-12))
    return scale


def rise_allowed(residual_R: np.ndarray, *, delta: float, coefficients: int = P, level: float = LEVEL) -> float:
    """How far the objective may rise above its minimum before a value is rejected, for runs of equal scatter."""
    scale = objective_scale(residual_R, delta=delta, coefficients=coefficients)
    return 0.5 * _quantile(len(residual_R) - coefficients, level=level) * scale


def _quantile(freedom: int, *, level: float = LEVEL) -> float:
    """A squared t-quantile: chi-squared with one degree of freedom, wider for few runs."""
    return float(stdtrit(max(1, freedom), (1 + level) / 2)) ** 2


def _rise_along(problem: Objective, theta_P: np.ndarray, *, axis: int) -> float:
    """The rise allowed along one coordinate: for runs of unequal scatter, or of equal where they are too few."""
    residual_R = problem.residuals(theta_P[None])[0]
    runs = problem.runs
    equal = rise_allowed(residual_R, delta=problem.delta)
    if runs < FEW_RUNS:
        return equal
    # each run's gradient, from the objective with that run alone
    each = problem.curvature(np.tile(theta_P, (runs, 1)), weights_BR=np.eye(runs)).gradient_BP
    outer = each.T @ each * runs / (runs - P)
    # E[psi'] near each run, read off a window of one robust standard deviation: few residuals lie within delta
    window = max(problem.delta, 1.4826 * float(np.median(np.abs(residual_R))))
    near_1R = (np.abs(residual_R) <= window)[None] * (problem.delta / window)
    wide = replace(problem, delta=max(1.0, float(np.abs(residual_R).max())))
    hessian = wide.curvature(theta_P[None], weights_BR=near_1R).majorizer_BPP[0]
    if np.linalg.matrix_rank(hessian, hermitian=True) < P:
        return equal
    inverse = np.linalg.inv(hessian)
    kappa = float((inverse @ outer @ inverse)[axis, axis] / inverse[axis, axis])
    return 0.5 * _quantile(runs - P) * kappa


def profile_intervals(fit: Fit, *, names: Sequence[str] = COEFFICIENTS) -> dict[str, Interval]:
    """A profile interval for each coefficient named."""
    centred = Objective.of(fit.runs, delta=fit.delta)
    return {name: _profile(fit, centred, name=name) for name in names}


def _profile(fit: Fit, centred: Objective, *, name: str) -> Interval:
    problem, theta_P = _uncentred(centred, fit.theta_P, name=name)
    axis = _COORDINATE[name]
    rise = _rise_along(problem, theta_P, axis=axis)
    # A and B as such, rather than at the centre of the runs, reach further
    lower, upper = float(LOWER_P[axis]), float(UPPER_P[axis])
    if name in ("A", "B"):
        lower, upper = -np.inf, np.inf
    ceiling = fit.objective + rise
    scale = _standard_length(problem, theta_P, axis=axis, rise=rise)
    low = _walk(problem, theta_P, axis=axis, ceiling=ceiling, scale=-scale, bound=lower)
    high = _walk(problem, theta_P, axis=axis, ceiling=ceiling, scale=scale, bound=upper)
    if name in ("alpha", "beta"):
        return Interval(low, high)
    # E is positive by its form: where even a vanishing E is not rejected, its interval begins at zero
    nothing = 0.0 if name == "E" else None
    return Interval(nothing if low is None else float(np.exp(low)), None if high is None else float(np.exp(high)))


def _uncentred(problem: Objective, theta_P: np.ndarray, *, name: str) -> tuple[Objective, np.ndarray]:
    """The same problem with ln A (or ln B) itself as a coordinate."""
    theta = theta_P.copy()
    if name == "A":
        theta[0] += theta[3] * problem.centre_params
        shifted = problem.log_params_R + problem.centre_params
        return replace(problem, log_params_R=shifted, centre_params=0.0), theta
    if name == "B":
        theta[1] += theta[4] * problem.centre_tokens
        shifted = problem.log_tokens_R + problem.centre_tokens
        return replace(problem, log_tokens_R=shifted, centre_tokens=0.0), theta
    return problem, theta


def _standard_length(problem: Objective, theta_P: np.ndarray, *, axis: int, rise: float) -> float:
    """Where a quadratic with the objective's curvature would have risen by `rise`."""
    weights = np.ones((1, problem.runs))
    hessian = problem.curvature(theta_P[None], weights_BR=weights).hessian_BPP[0]
    variance = float(np.linalg.pinv(hessian)[axis, axis])
    if not variance > 0:
        return 0.05
    return float(np.clip(np.sqrt(2 * rise * variance), 1e-6, 1.0))


def _walk(
    problem: Objective, theta_P: np.ndarray, *, axis: int, ceiling: float, scale: float, bound: float
) -> float | None:
    """Follow the profile from the optimum until it passes the ceiling; None when it never does."""
    free_P = [index != axis for index in range(P)]
    weights = np.ones((1, problem.runs))

    def at(position: float, near_P: np.ndarray) -> tuple[float, np.ndarray]:
        start = near_P.copy()
        start[axis] = position
        return _minimise_fixed(problem, start, weights_BR=weights, free_P=free_P)

    inside, warm = float(theta_P[axis]), theta_P
    for stride in _STRIDES:
        position = float(theta_P[axis]) + stride * scale
        position = max(position, bound) if scale < 0 else min(position, bound)
        value, theta = at(position, warm)
        if value > ceiling:
            return _bisect(at, inside=inside, outside=position, warm_P=warm, ceiling=ceiling)
        if position == bound:
            return None
        inside, warm = position, theta
    return None


def _minimise_fixed(
    problem: Objective, start_P: np.ndarray, *, weights_BR: np.ndarray, free_P: list[bool]
) -> tuple[float, np.ndarray]:
    """The least objective with the coordinates that are not free held where they stand."""
    solve = minimise if problem.delta >= 1e-4 else continued
    found = solve(problem, start_P[None], weights_BR=weights_BR, free_P=free_P)
    return float(found.value_B[0]), found.theta_BP[0]


def _bisect(
    at: Callable[[float, np.ndarray], tuple[float, np.ndarray]],
    *,
    inside: float,
    outside: float,
    warm_P: np.ndarray,
    ceiling: float,
) -> float:
    for _ in range(12):
        middle = 0.5 * (inside + outside)
        value, theta_P = at(middle, warm_P)
        if value > ceiling:
            outside = middle
        else:
            inside, warm_P = middle, theta_P
    return 0.5 * (inside + outside)
