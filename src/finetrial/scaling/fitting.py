"""Fit the law that explains the runs best, and name other optima that are nearly as good.

Variable projection gives the starts: for fixed exponents L = E + A / N^alpha + B / D^beta is linear in E, A and B,
so a grid over the two exponents covers the five dimensions. Every start is then brought to its minimum in all five.

Shapes: S starts, R runs, P = 5 coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.newton import LOWER_P, UPPER_P, Minima, continued, merged, minimise
from finetrial.scaling.objective import Objective, P
from finetrial.scaling.training_runs import COEFFICIENTS, Runs, require_enough

DELTA = 1e-3  # Hoffmann et al. 2022, section 3.3
_EXPONENTS = np.geomspace(0.03, 2.0, 20)
_WIDE = 1e-2  # the Huber threshold under which the starts are sorted
_SAME_OPTIMUM = 1e-2  # coordinates nearer than this are one optimum
_NOTHING = 1e-6  # assumption: of two optima, terms below this share of the loss are alike, whatever their logarithm
_NEARLY_AS_GOOD = 1.05  # objectives up to this multiple of the best are named


@dataclass(frozen=True)
class Optimum:
    """One local minimum of the objective."""

    coefficients: dict[str, float]
    objective: float
    theta_P: np.ndarray


@dataclass(frozen=True)
class Fit:
    """A law fitted to runs: the best optimum, the others, and what is needed to judge it."""

    law: ParametricLaw
    objective: float
    theta_P: np.ndarray
    delta: float
    runs: Runs
    starts: int
    other_optima: tuple[Optimum, ...]
    at_bound: tuple[str, ...]  # coefficients that ran into the bounds of the search

    @property
    def coefficients(self) -> dict[str, float]:
        return self.law.coefficients


def fit_law(runs: Runs, *, delta: float = DELTA, name: str = "fitted") -> Fit:
    """Fit E, A, B, alpha and beta. Raises UserError for fewer runs than coefficients."""
    require_enough(runs, coefficients=len(COEFFICIENTS))
    problem = Objective.of(runs, delta=delta)
    starts_SP = projected_starts(problem, loss_R=runs.loss_R)
    # all starts under a wide threshold first: those that meet there would stay together, and are followed as one
    wide = minimise(replace(problem, delta=max(delta, _WIDE)), starts_SP, iterations=60)
    found = continued(problem, merged(wide.theta_BP), widest=_WIDE)
    optima = distinct(found, problem=problem)
    best = optima[0]
    near = tuple(o for o in optima[1:] if o.objective <= _NEARLY_AS_GOOD * best.objective)
    return Fit(
        law=law_of(best.coefficients, runs=runs, name=name),
        objective=best.objective,
        theta_P=best.theta_P,
        delta=delta,
        runs=runs,
        starts=len(starts_SP),
        other_optima=near,
        at_bound=_bounds_met(best.theta_P),
    )


def law_of(coefficients: dict[str, float], *, runs: Runs, name: str) -> ParametricLaw:
    return ParametricLaw(
        name=name,
        E=coefficients["E"],
        A=coefficients["A"],
        B=coefficients["B"],
        alpha=coefficients["alpha"],
        beta=coefficients["beta"],
        source=f"fitted to {len(runs)} runs",
        params_meaning="as counted in the runs",
        largest_run_flops=float(runs.flops_R.max()),
    )


def projected_starts(problem: Objective, *, loss_R: np.ndarray) -> np.ndarray:
    """For each pair of exponents the E, A, B of least relative squares, shape (S, P)."""
    alpha_S, beta_S = (grid.ravel() for grid in np.meshgrid(_EXPONENTS, _EXPONENTS, indexing="ij"))
    columns_SRC = np.stack(
        [
            np.exp(-alpha_S[:, None] * problem.log_params_R),
            np.exp(-beta_S[:, None] * problem.log_tokens_R),
            np.ones((len(alpha_S), len(loss_R))),
        ],
        axis=2,
    )
    relative_SRC = columns_SRC / loss_R[:, None]
    scale_S1C = np.sqrt((relative_SRC**2).sum(axis=1, keepdims=True))
    unit_SRC = relative_SRC / scale_S1C
    normal_SCC = unit_SRC.transpose(0, 2, 1) @ unit_SRC + 1e-9 * np.eye(3)
    target_SC = unit_SRC.sum(axis=1)
    linear_SC = np.linalg.solve(normal_SCC, target_SC[:, :, None])[:, :, 0] / scale_S1C[:, 0, :]
    # a term that least squares would make negative starts as a hundredth of the loss
    least = 0.01 * float(np.exp(problem.log_loss_R.mean()))
    theta_SC = np.log(np.maximum(linear_SC, least))
    return np.concatenate([theta_SC, alpha_S[:, None], beta_S[:, None]], axis=1)


def distinct(found: Minima, *, problem: Objective) -> list[Optimum]:
    """The different minima among many, best first."""
    optima: list[Optimum] = []
    compared: list[np.ndarray] = []
    least = float(problem.log_loss_R.mean() + np.log(_NOTHING))
    coefficients_SP = problem.to_coefficients(found.theta_BP)
    for index in np.argsort(found.value_B, kind="stable"):
        theta_P = found.theta_BP[index]
        if not np.isfinite(found.value_B[index]):
            continue
        seen_P = _without_vanished(theta_P, least=least)
        if any(np.abs(seen_P - other_P).max() < _SAME_OPTIMUM for other_P in compared):
            continue
        compared.append(seen_P)
        values = dict(zip(COEFFICIENTS, (float(v) for v in coefficients_SP[index]), strict=True))
        optima.append(Optimum(values, float(found.value_B[index]), theta_P))
    return optima


def _without_vanished(theta_P: np.ndarray, *, least: float) -> np.ndarray:
    """The coordinates with every term below `least` at it; the exponent of such a term says nothing."""
    seen_P = np.append(np.maximum(theta_P[:3], least), theta_P[3:])
    seen_P[3:][theta_P[:2] < least] = 0.0
    return seen_P


def _bounds_met(theta_P: np.ndarray) -> tuple[str, ...]:
    names = ("A", "B", "E", "alpha", "beta")
    met = np.isclose(theta_P, LOWER_P) | np.isclose(theta_P, UPPER_P)
    return tuple(names[index] for index in range(P) if met[index])
