"""Read the worth of repeated tokens and of excess parameters off one's own multi-epoch runs.

Over a frozen base law the two constants R* and R_N* span two dimensions, which are mapped entirely; every basin of
the map is brought to its minimum. Fitted jointly, the base law moves with them. A constant which the runs do not
pin down has an open interval (repeat_likelihood.py).

Shapes: R runs, G grid points of each constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from finetrial.errors import UserError
from finetrial.scaling.interval import Interval
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.repeated_data import R_STAR_PARAMS
from finetrial.scaling.repeated_data_intervals import (
    GRID,
    Likelihood,
    RepeatedRuns,
    centres_of,
    huber,
    likelihoods,
    pack,
    solve,
    unpack,
)
from finetrial.scaling.training_runs import COEFFICIENTS, Runs, require_enough

_STRIDES = (0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.8, 1.2, 1.7, 2.3, 3.2, 4.5, 6.5, 9.5, 14.0)
_REPEATED = 1.0 + 1e-6  # epochs beyond which a run counts as repeating
_WORTH_NAMING = 2.0  # a second optimum is named up to so many times the best objective
CONSTANTS = ("r_star_tokens", "r_star_params")


@dataclass(frozen=True)
class RepetitionOptimum:
    r_star_tokens: float
    r_star_params: float | None  # None: no run has excess parameters, so nothing depends on it
    objective: float


@dataclass(frozen=True)
class RepetitionFit:
    """R* and R_N* with what the runs say of them. None as a bound: open on that side."""

    r_star_tokens: float
    r_star_params: float | None  # None: no run has excess parameters, so nothing depends on it
    objective: float
    intervals: dict[str, Interval]
    identified: dict[str, bool]
    reasons: dict[str, str]  # why a constant is not identified
    other_optima: tuple[RepetitionOptimum, ...]
    base: ParametricLaw
    base_source: str
    runs_repeated: int
    runs_with_excess_params: int


def one_epoch(runs: Runs) -> Runs:
    return runs.select(runs.epochs_R <= _REPEATED)


def fit_over_base(runs: Runs, *, base: ParametricLaw, delta: float, base_is_fitted: bool = False) -> RepetitionFit:
    """Fit R* and R_N* to the repeating runs over a base law that stays as it is.

    With `base_is_fitted` the base law came from the other runs of the table: intervals then let it move.
    """
    data = RepeatedRuns.of(runs.select(_repeating_R(runs)))
    optima = _optima_over(data, base=base, delta=delta)
    return _judge(
        data,
        optima,
        base=base,
        base_source="frozen",
        judges=likelihoods(
            RepeatedRuns.of(runs) if base_is_fitted else data,
            base=base,
            logs=_logs(optima[0]),
            base_is_free=base_is_fitted,
        ),
    )


def fit_jointly(runs: Runs, *, start: ParametricLaw, delta: float) -> RepetitionFit:
    """Fit the base law and both constants together to all runs, from every optimum that the start shows."""
    require_enough(runs, coefficients=len(COEFFICIENTS) + len(CONSTANTS))
    repeating = RepeatedRuns.of(runs.select(_repeating_R(runs)))
    data = RepeatedRuns.of(runs)
    centres = centres_of(data)
    solutions = [
        solve(data, pack(start, logs=_logs(optimum), centres=centres), held={}, scale=delta)
        for optimum in _optima_over(repeating, base=start, delta=delta)[:4]
    ]
    solutions.sort(key=lambda solution: solution[0])
    optima: list[RepetitionOptimum] = []
    for objective, point in solutions:
        candidate = RepetitionOptimum(float(np.exp(point[5])), float(np.exp(point[6])), objective)
        if not any(np.abs(_logs(candidate) - _logs(other)).max() < 0.1 for other in optima):
            optima.append(candidate)
    best_point = solutions[0][1]
    base = unpack(best_point, centres=centres, runs=len(runs), largest=float(runs.flops_R.max()))
    return _judge(
        data,
        optima,
        base=base,
        base_source="fitted together",
        judges=likelihoods(data, base=base, logs=best_point[5:], base_is_free=True),
    )


def _repeating_R(runs: Runs) -> np.ndarray:
    repeating_R = runs.epochs_R > _REPEATED
    if not repeating_R.any():
        raise UserError(
            "no run repeats its data",
            expected="runs with tokens > unique_tokens",
            fix="Give a column unique_tokens, or leave --repeat out.",
        )
    return repeating_R


def _value(
    data: RepeatedRuns, *, base: ParametricLaw, log_tokens: np.ndarray, log_params: np.ndarray, delta: float
) -> np.ndarray:
    value: np.ndarray = huber(data.residuals(base, log_tokens=log_tokens, log_params=log_params), delta=delta).sum(
        axis=-1
    )
    return value


def _optima_over(data: RepeatedRuns, *, base: ParametricLaw, delta: float) -> list[RepetitionOptimum]:
    """Every basin of the objective over the two constants, polished and best first."""
    surface_GG = np.stack(
        [_value(data, base=base, log_tokens=np.full(len(GRID), row), log_params=GRID, delta=delta) for row in GRID]
    )
    size = len(GRID)
    padded = np.pad(surface_GG, 1, constant_values=np.inf)
    around = [padded[i : i + size, j : j + size] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    cells = np.argwhere(surface_GG <= np.min(around, axis=0)).tolist()
    floors = [
        RepetitionOptimum(float(np.exp(GRID[row])), float(np.exp(GRID[column])), float(surface_GG[row, column]))
        for row, column in cells
    ]
    # a flat valley has many lowest cells: one of each valley is polished, and polishing may join valleys
    lowest = _valleys(data, floors, base=base, delta=delta)
    return _valleys(
        data, [_polish(data, floor, base=base, delta=delta) for floor in lowest], base=base, delta=delta
    )


def _polish(
    data: RepeatedRuns, floor: RepetitionOptimum, *, base: ParametricLaw, delta: float
) -> RepetitionOptimum:
    solution = least_squares(
        lambda x: data.residuals(base, log_tokens=x[0], log_params=x[1]) / delta,
        _logs(floor),
        jac="3-point",
        loss="huber",
        bounds=([GRID[0] - 1e-9] * 2, [GRID[-1] + 1e-9] * 2),
        xtol=1e-12,
        ftol=1e-14,
        gtol=1e-14,
    )
    tokens, params = (float(value) for value in np.exp(solution.x))
    return RepetitionOptimum(tokens, params, float(solution.cost) * delta**2)


def _valleys(
    data: RepeatedRuns, optima: list[RepetitionOptimum], *, base: ParametricLaw, delta: float
) -> list[RepetitionOptimum]:
    """The lowest point of each valley, best first, at most eight."""
    kept: list[RepetitionOptimum] = []
    for optimum in sorted(optima, key=lambda optimum: optimum.objective):
        if len(kept) < 8 and not any(_one_valley(data, optimum, other, base=base, delta=delta) for other in kept):
            kept.append(optimum)
    return kept


def _one_valley(
    data: RepeatedRuns, one: RepetitionOptimum, other: RepetitionOptimum, *, base: ParametricLaw, delta: float
) -> bool:
    """Whether no ridge stands between two optima: then they are one, however flat its floor."""
    share = np.linspace(0, 1, 41)[:, None]
    between = (1 - share) * _logs(one) + share * _logs(other)
    value = _value(data, base=base, log_tokens=between[:, 0], log_params=between[:, 1], delta=delta)
    higher = max(one.objective, other.objective)
    return bool(value.max() <= higher * (1 + 1e-4))


def _logs(optimum: RepetitionOptimum) -> np.ndarray:
    params = optimum.r_star_params
    return np.log([optimum.r_star_tokens, R_STAR_PARAMS if params is None else params])


def _judge(
    data: RepeatedRuns,
    optima: list[RepetitionOptimum],
    *,
    base: ParametricLaw,
    base_source: str,
    judges: list[Likelihood],
) -> RepetitionFit:
    best = optima[0]
    excess = int((data.excess_R(base) > 1e-9).sum())
    intervals = {
        name: _interval(
            judges,
            axis,
            best=float(_logs(best)[axis]),
            others=[float(_logs(optimum)[axis]) for optimum in optima[1:]],
        )
        for axis, name in enumerate(CONSTANTS)
    }
    if excess == 0:
        optima = [replace(optimum, r_star_params=None) for optimum in optima]
    return RepetitionFit(
        r_star_tokens=best.r_star_tokens,
        r_star_params=optima[0].r_star_params,
        objective=best.objective,
        intervals=intervals,
        identified={name: interval.identified for name, interval in intervals.items()},
        reasons=_reasons(intervals, excess=excess, enough=bool(judges)),
        other_optima=tuple(o for o in optima[1:] if o.objective <= _WORTH_NAMING * best.objective),
        base=base,
        base_source=base_source,
        runs_repeated=int((data.further_epochs_R > 0).sum()),
        runs_with_excess_params=excess,
    )


def _interval(judges: list[Likelihood], axis: int, *, best: float, others: list[float]) -> Interval:
    """From the fit's own value and the likelihoods' to the outermost value that some likelihood does not reject.

    None where even the edge of the search is not rejected, or where the runs are too few to tell.
    """
    if not judges:
        return Interval(None, None)
    own = [best, *(float(judge.point[5 + axis]) for judge in judges)]

    def stays(position: float) -> bool:
        return not all(judge.rejects(axis, position) for judge in judges)

    def side(sign: float) -> float | None:
        edge = float(GRID[-1] if sign > 0 else GRID[0])
        start = max(own, key=lambda value: value * sign)
        if (start - edge) * sign >= 0:
            return None
        positions = [start + sign * stride for stride in _STRIDES if (start + sign * stride - edge) * sign < 0]
        positions += [other for other in others if (other - start) * sign > 0]
        positions = [start, *sorted(positions, reverse=sign < 0), edge]
        under = [True] + [stays(position) for position in positions[1:]]
        last = max(index for index, is_under in enumerate(under) if is_under)
        if last == len(positions) - 1:
            return None
        inside, outside = positions[last], positions[last + 1]
        for _ in range(7):
            middle = 0.5 * (inside + outside)
            inside, outside = (middle, outside) if stays(middle) else (inside, middle)
        return float(np.exp(0.5 * (inside + outside)))

    return Interval(side(-1.0), side(1.0))


def _reasons(intervals: dict[str, Interval], *, excess: int, enough: bool) -> dict[str, str]:
    reasons = {}
    for name, interval in intervals.items():
        subject = "repeated tokens" if name == "r_star_tokens" else "excess parameters"
        if interval.identified:
            continue
        if name == "r_star_params" and excess == 0:
            reasons[name] = "no run has more parameters than its unique tokens deserve"
        elif not enough:
            reasons[name] = "too few runs for an interval"
        elif interval.low is None and interval.high is None:
            reasons[name] = "the runs reject no value"
        elif interval.high is None:
            reasons[name] = f"the runs reject no large value: {subject} may be worth as much as others"
        else:
            reasons[name] = f"the runs reject no small value: {subject} may be worth nothing"
    return reasons
