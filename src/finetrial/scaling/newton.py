"""Bring many candidate laws to the bottom of their objectives at once.

A damped Newton method on exact second derivatives, one damping for each candidate. The damping is the majorizer
of the Huber objective, so a fully damped step is one of iteratively reweighted least squares. No tolerance is
absolute: the objective is about 1e-3 at its optimum, where a fixed one would stop early (Besiroglu et al. 2024,
section 3).

Shapes: B candidates, R runs, P = 5 coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from finetrial.scaling.objective import Curvature, Objective, P

# Bounds of the search: exponents no published law comes near, and terms between 1e-12 and 1e12 nats at the centre.
LOWER_P = np.array([-27.6, -27.6, -27.6, 1e-3, 1e-3])
UPPER_P = np.array([27.6, 27.6, 27.6, 4.0, 4.0])
_LONGEST_STEP_P = np.array([2.0, 2.0, 2.0, 0.3, 0.3])
_RELATIVE_TOLERANCE = 1e-12


class Minimisable(Protocol):
    """What `minimise` asks of an objective."""

    @property
    def runs(self) -> int: ...

    def for_candidates(self, index_B: np.ndarray, /) -> Minimisable: ...

    def curvature(self, theta_BP: np.ndarray, /, *, weights_BR: np.ndarray) -> Curvature: ...


@dataclass(frozen=True)
class Minima:
    """Where each candidate came to rest."""

    theta_BP: np.ndarray
    value_B: np.ndarray
    converged_B: np.ndarray
    at_bound_B: np.ndarray  # some coordinate left free stands at a bound of the search


def minimise(
    objective: Minimisable,
    theta_BP: np.ndarray,
    *,
    weights_BR: np.ndarray | None = None,
    free_P: Sequence[bool] = (True,) * P,
    iterations: int = 300,
) -> Minima:
    """Minimise the weighted objective from each start over the free coordinates."""
    theta = np.clip(np.array(theta_BP, dtype=float), LOWER_P, UPPER_P)
    count = len(theta)
    if weights_BR is None:
        weights_BR = np.ones((1, objective.runs))
    weights = np.broadcast_to(weights_BR, (count, objective.runs))
    free = np.asarray(free_P, dtype=bool)
    damping = np.full(count, 1e-2)
    small_gains = np.zeros(count, dtype=int)
    value = np.full(count, np.inf)
    done = np.zeros(count, dtype=bool)
    here = objective.curvature(theta, weights_BR=weights)
    value[:] = here.value_B
    gradient, hessian, majorizer = here.gradient_BP, here.hessian_BPP, here.majorizer_BPP
    for _ in range(iterations):
        live = np.flatnonzero(~done)
        if len(live) == 0:
            break
        step = _step(theta[live], gradient[live], hessian[live], majorizer[live], damping[live], free)
        downhill = (gradient[live] * step).sum(axis=1) < 0
        trial = np.clip(theta[live] + step, LOWER_P, UPPER_P)
        there = objective.for_candidates(live).curvature(trial, weights_BR=weights[live])
        better = downhill & (there.value_B < value[live])
        gain = np.where(better, value[live] - there.value_B, 0.0)
        accepted = live[better]
        theta[accepted] = trial[better]
        gradient[accepted] = there.gradient_BP[better]
        hessian[accepted] = there.hessian_BPP[better]
        majorizer[accepted] = there.majorizer_BPP[better]
        value[accepted] = there.value_B[better]
        damping[live] = np.where(better, damping[live] * 0.2, damping[live] * 6.0)
        damping[live] = np.maximum(damping[live], 1e-14)
        small = better & (gain <= _RELATIVE_TOLERANCE * value[live])
        small_gains[live] = np.where(small, small_gains[live] + 1, np.where(better, 0, small_gains[live]))
        done[live] |= (small_gains[live] >= 2) | (damping[live] > 1e10) | (value[live] <= 1e-24)
    bound = (np.isclose(theta, LOWER_P) | np.isclose(theta, UPPER_P)) & free
    return Minima(theta, value, done, bound.any(axis=1))


def continued(
    objective: Objective,
    theta_BP: np.ndarray,
    *,
    weights_BR: np.ndarray | None = None,
    free_P: Sequence[bool] = (True,) * P,
    widest: float = 1e-2,
) -> Minima:
    """Minimise from a wide Huber threshold down to the objective's own, tenfold at a time.

    Below about 1e-4 the objective is nearly a sum of absolute values, whose corners stop a Newton method that
    starts far away; each wider threshold brings the start of the next one close.
    """
    theta = theta_BP
    delta = max(widest, objective.delta)
    while delta > objective.delta * 1.001:
        theta = minimise(
            replace(objective, delta=delta), theta, weights_BR=weights_BR, free_P=free_P, iterations=60
        ).theta_BP
        delta = max(delta / 10, objective.delta)
    return minimise(objective, theta, weights_BR=weights_BR, free_P=free_P)


def merged(theta_BP: np.ndarray) -> np.ndarray:
    """Candidates that stand at the same place, to six digits, only once."""
    _, first = np.unique(np.round(theta_BP, 6), axis=0, return_index=True)
    return theta_BP[np.sort(first)]


def _step(
    theta_BP: np.ndarray,
    gradient_BP: np.ndarray,
    hessian_BPP: np.ndarray,
    majorizer_BPP: np.ndarray,
    damping_B: np.ndarray,
    free_P: np.ndarray,
) -> np.ndarray:
    """The damped Newton step with fixed coordinates held and coordinates pressed against a bound released."""
    pressed_BP = ((theta_BP <= LOWER_P) & (gradient_BP > 0)) | ((theta_BP >= UPPER_P) & (gradient_BP < 0))
    moving_BP = free_P & ~pressed_BP
    diagonal_BP = np.einsum("bpp->bp", majorizer_BPP)
    ridge_BP = diagonal_BP + 1e-9 * diagonal_BP.max(axis=1, keepdims=True) + 1e-300
    damped = hessian_BPP + damping_B[:, None, None] * majorizer_BPP
    index = np.arange(P)
    damped[:, index, index] += damping_B[:, None] * ridge_BP + 1e-14 * ridge_BP
    both = moving_BP[:, :, None] & moving_BP[:, None, :]
    damped = np.where(both, damped, 0.0)
    damped[:, index, index] = np.where(moving_BP, damped[:, index, index], 1.0)
    gradient = np.where(moving_BP, gradient_BP, 0.0)
    # scaled to a unit diagonal, so that no system is singular merely because its units differ
    scale = 1 / np.sqrt(np.abs(damped[:, index, index]) + 1e-300)
    scaled = damped * scale[:, :, None] * scale[:, None, :]
    scaled[:, index, index] += 1e-13
    try:
        step = -np.linalg.solve(scaled, (gradient * scale)[:, :, None])[:, :, 0] * scale
    except np.linalg.LinAlgError:
        step = -gradient * scale**2
    excess = np.abs(step) / _LONGEST_STEP_P
    bounded_BP: np.ndarray = step / np.maximum(1.0, excess.max(axis=1, keepdims=True))
    return bounded_BP
