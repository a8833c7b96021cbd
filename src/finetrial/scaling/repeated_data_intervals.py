"""The law of repeated data against runs, and intervals of its constants by the profile likelihood.

As for coefficients (likelihood.py): a value of R* or R_N* stays while some law with it fits with a sum of squares
of at most S_min (1 + t^2 / (R - p)), noise taken as alike in per cent and in nats, the wider of both. Where the
base law was fitted to the same runs it is free in these refits: held at its fit, its own uncertainty would be
missing, and one-epoch runs with excess parameters would bias the constants.

The law: L = E + A / N'^alpha + B / D'^beta with D' = U + U R* (1 - exp(-(e - 1) / R*)) and N' likewise beyond
U_N = min(N, N_opt(fresh tokens)) (Muennighoff et al. 2023, eq. 5 to 7).

Shapes: R runs stand last, the constants may carry leading axes; G grid points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.special import stdtrit

from finetrial.scaling.interval import LEVEL
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.training_runs import Runs


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


SMALLEST, LARGEST = 1e-2, 1e4  # of the search; the published constants are 15.4 and 5.3
GRID = np.log(np.geomspace(SMALLEST, LARGEST, 121))
_LOW = np.array([-27.6, -27.6, -27.6, 1e-3, 1e-3, GRID[0] - 1e-9, GRID[0] - 1e-9])
_HIGH = np.array([27.6, 27.6, 27.6, 4.0, 4.0, GRID[-1] + 1e-9, GRID[-1] + 1e-9])
LEAST_FREEDOM_KNOWN, LEAST_FREEDOM_FITTED = 2, 14  # runs less constants: the fewest whose coverage was measured
_BASE = 5  # coordinates of the base law; the logarithms of R* and R_N* follow


def pack(law: ParametricLaw, *, logs: np.ndarray, centres: tuple[float, float]) -> np.ndarray:
    """The seven coordinates: (a', b', e, alpha, beta) of objective.py, ln R*, ln R_N*."""
    a = np.log(law.A) - law.alpha * centres[0]
    b = np.log(law.B) - law.beta * centres[1]
    return np.array([a, b, np.log(law.E), law.alpha, law.beta, *logs])


def unpack(point: np.ndarray, *, centres: tuple[float, float], runs: int, largest: float) -> ParametricLaw:
    return ParametricLaw(
        name="fitted",
        E=float(np.exp(point[2])),
        A=float(np.exp(point[0] + point[3] * centres[0])),
        B=float(np.exp(point[1] + point[4] * centres[1])),
        alpha=float(point[3]),
        beta=float(point[4]),
        source=f"fitted to {runs} runs together with repetition",
        params_meaning="as counted in the runs",
        largest_run_flops=largest,
    )


def centres_of(data: RepeatedRuns) -> tuple[float, float]:
    return float(np.log(data.runs.params_R).mean()), float(np.log(data.runs.tokens_R).mean())


def solve(
    data: RepeatedRuns,
    start: np.ndarray,
    *,
    held: dict[int, float],
    scale: float,
    robust: bool = True,
) -> tuple[float, np.ndarray]:
    """The least objective over all coordinates but those held, and where it lies.

    Huber's of threshold `scale`, or half the sum of squares, whose residuals `scale` brings near one. Shapes: P
    points, F coordinates not held.
    """
    centres = centres_of(data)
    free = [index for index in range(len(start)) if index not in held]
    whole = start.copy()
    for index, value in held.items():
        whole[index] = value

    def complete(values_PF: np.ndarray) -> np.ndarray:
        point_P7 = np.tile(whole, (len(values_PF), 1))
        point_P7[:, free] = values_PF
        return point_P7

    def residuals(values_PF: np.ndarray) -> np.ndarray:
        a, b, e, alpha, beta, tokens, params = complete(values_PF).T
        laws = Laws(
            np.exp(e)[:, None],
            np.exp(a + alpha * centres[0])[:, None],
            np.exp(b + beta * centres[1])[:, None],
            alpha[:, None],
            beta[:, None],
        )
        return data.residuals(laws, log_tokens=tokens, log_params=params) / scale

    def jacobian(values_F: np.ndarray) -> np.ndarray:
        """Central differences, all in one evaluation."""
        step_FF = np.diag(6e-6 * np.maximum(1.0, np.abs(values_F)))
        ahead, behind = np.split(residuals(np.concatenate([values_F + step_FF, values_F - step_FF])), 2)
        jacobian_RF: np.ndarray = ((ahead - behind) / (2 * step_FF.diagonal()[:, None])).T
        return jacobian_RF

    solution = least_squares(
        lambda values_F: residuals(values_F[None])[0],
        np.clip(start[free], _LOW[free] + 1e-9, _HIGH[free] - 1e-9),
        jac=jacobian,
        loss="huber" if robust else "linear",
        bounds=(_LOW[free], _HIGH[free]),
        x_scale="jac",
        xtol=1e-11 if robust else 1e-9,  # squares are compared with a ceiling, to about one part in 10,000
        ftol=1e-13 if robust else 1e-9,
        gtol=1e-13 if robust else 1e-9,
        max_nfev=300,
    )
    return float(solution.cost) * scale**2, complete(solution.x[None])[0]


@dataclass
class Likelihood:
    """Half the sum of squares with one constant held, and the height at which its values are rejected."""

    data: RepeatedRuns  # weighted for one noise model
    point: np.ndarray  # the seven coordinates of the least squares
    ceiling: float
    scale: float
    base_is_free: bool

    def __post_init__(self) -> None:
        self._warm = {0: self.point, 1: self.point}

    @staticmethod
    def of(data: RepeatedRuns, start: np.ndarray, *, base_is_free: bool) -> Likelihood | None:
        """None where the runs leave fewer degrees of freedom than coverage was measured with."""
        freedom = len(data.runs) - (7 if base_is_free else 2)
        if freedom < (LEAST_FREEDOM_FITTED if base_is_free else LEAST_FREEDOM_KNOWN):
            return None
        held = {} if base_is_free else dict(enumerate(start[:_BASE].tolist()))
        law = unpack(start, centres=centres_of(data), runs=1, largest=1.0)
        residual_R = data.residuals(law, log_tokens=start[5], log_params=start[6])
        scale = max(float(np.sqrt((residual_R**2).mean())), 1e-9)
        least, point = solve(data, start, held=held, scale=scale, robust=False)
        floor = 0.5 * len(data.runs) * 1e-18  # runs without noise: rounding is some
        allowed = float(stdtrit(freedom, (1 + LEVEL) / 2)) ** 2 / freedom
        return Likelihood(data, point, max(least, floor) * (1 + allowed), scale, base_is_free)

    def rejects(self, axis: int, position: float) -> bool:
        """Whether no law with this ln R* (axis 0) or ln R_N* (axis 1) fits well enough."""
        if not self.base_is_free:
            return self._least_over_other(axis, position) > self.ceiling
        held = {_BASE + axis: position}
        best = np.inf
        for start in (self._warm[axis], self.point):
            value, point = solve(self.data, start, held=held, scale=self.scale, robust=False)
            if value < best:
                best, self._warm[axis] = value, point
            if best <= self.ceiling:
                return False
        # the other constant may have two valleys: its far ends are tried before a value is rejected
        for end in (GRID[0], GRID[-1]):
            start = self.point.copy()
            start[_BASE + 1 - axis] = end
            value, _ = solve(self.data, start, held=held, scale=self.scale, robust=False)
            if value <= self.ceiling:
                return False
        return True

    def _least_over_other(self, axis: int, position: float) -> float:
        """The least squares over the other constant alone, on ever finer grids."""
        law = unpack(self.point, centres=centres_of(self.data), runs=1, largest=1.0)
        low, high = float(GRID[0]), float(GRID[-1])
        best = np.inf
        for _ in range(4):
            other_G = np.linspace(low, high, 61)
            held_G = np.full(61, position)
            both = (held_G, other_G) if axis == 0 else (other_G, held_G)
            residual_GR = self.data.residuals(law, log_tokens=both[0], log_params=both[1])
            value_G = 0.5 * (residual_GR**2).sum(axis=-1)
            centre, step = int(np.argmin(value_G)), other_G[1] - other_G[0]
            best = min(best, float(value_G[centre]))
            low, high = max(other_G[centre] - step, float(GRID[0])), min(other_G[centre] + step, float(GRID[-1]))
        return best


def likelihoods(
    data: RepeatedRuns, *, base: ParametricLaw, logs: np.ndarray, base_is_free: bool
) -> list[Likelihood]:
    """One likelihood for each noise model: alike in per cent, and in nats."""
    start = pack(base, logs=logs, centres=centres_of(data))
    middle = float(np.exp(data.log_loss_R.mean()))
    weighted = [data, data.weighted(np.exp(data.log_loss_R) / middle)]
    found = [Likelihood.of(each, start, base_is_free=base_is_free) for each in weighted]
    return [each for each in found if each is not None]
