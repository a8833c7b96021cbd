"""Intervals from few runs: the profile likelihood of least squares on log L, with Student's t.

With few runs neither the scatter of a bootstrap nor a normal quantile tells how wrong a fit may be: the noise
itself is estimated from R - 5 degrees of freedom. Of a quantity psi those values stay that some law with that psi
fits with a sum of squares S of at most S_min (1 + t^2 / (R - 5)), t the 97.5 % point of Student's t (Bates and
Watts 1988, Nonlinear Regression Analysis and its Applications, section 6.1). It is the same in any parametrisation.
An end is found by pulling psi away from its best value and refitting the rest, until S passes.

Many data sets of one design are worked at once, so that the benchmark of coverage runs this code and no other.

Shapes: S data sets, R runs, Q quantities, B walks (data set x quantity x side), P = 5 coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from finetrial.scaling.interval import LEVEL
from finetrial.scaling.newton import minimise
from finetrial.scaling.objective import Curvature, Objective, P
from finetrial.scaling.quantities import Centres, Quantity

_LEAST_SQUARES = 1e3  # a Huber threshold that no residual of log L reaches
_STARTS = 12  # of the grid over the exponents, the best
_STRIDES = (0.4, 0.9, 1.4, 2.0, 3.0, 4.5, 7.0, 11.0, 18.0, 30.0, 50.0, 90.0)  # in standard lengths
_FARTHEST = 13.8  # on the log scale a factor of a million: beyond it an end counts as open
_PULL = 1e4  # the pull on psi over the curvature of the profile: psi lands within 1e-4 standard lengths
_SOLVER_STEPS = 80
_CLOSINGS = 7  # steps of closing in on an end


@dataclass(frozen=True)
class Ends:
    """Both ends of each interval, shape (S, Q); nan where a side is open. On the quantity's own scale."""

    low_SQ: np.ndarray
    high_SQ: np.ndarray


@dataclass(frozen=True)
class LeastSquares:
    """The least-squares law of each data set, and half its sum of squares."""

    theta_SP: np.ndarray
    value_S: np.ndarray


@dataclass(frozen=True)
class _Pulled:
    """Least squares with each candidate's quantity pulled to a place: half S + half pull (psi - place)^2."""

    problem: Objective
    quantities: Sequence[Quantity]
    which_B: np.ndarray
    place_B: np.ndarray
    pull_B: np.ndarray
    centres: Centres

    @property
    def runs(self) -> int:
        return self.problem.runs

    def for_candidates(self, index_B: np.ndarray) -> _Pulled:
        return replace(
            self,
            problem=self.problem.for_candidates(index_B),
            which_B=self.which_B[index_B],
            place_B=self.place_B[index_B],
            pull_B=self.pull_B[index_B],
        )

    def curvature(self, theta_BP: np.ndarray, *, weights_BR: np.ndarray) -> Curvature:
        plain = self.problem.curvature(theta_BP, weights_BR=weights_BR)
        psi_B, slope_BP = evaluate(self.quantities, self.which_B, theta_BP, self.centres)
        off_B = psi_B - self.place_B
        outer_BPP = self.pull_B[:, None, None] * slope_BP[:, :, None] * slope_BP[:, None, :]
        return Curvature(
            plain.value_B + 0.5 * self.pull_B * off_B**2,
            plain.gradient_BP + (self.pull_B * off_B)[:, None] * slope_BP,
            plain.hessian_BPP + outer_BPP,
            plain.majorizer_BPP + outer_BPP,
        )


def evaluate(
    quantities: Sequence[Quantity], which_B: np.ndarray, theta_BP: np.ndarray, centres: Centres
) -> tuple[np.ndarray, np.ndarray]:
    """Each candidate's own quantity and its gradient."""
    value_B, gradient_BP = np.empty(len(theta_BP)), np.empty((len(theta_BP), P))
    for index, quantity in enumerate(quantities):
        mine_B = which_B == index
        if mine_B.any():
            value_B[mine_B], gradient_BP[mine_B] = quantity.evaluate(theta_BP[mine_B], centres)
    return value_B, gradient_BP


def least_squares(problem: Objective, starts_SKP: np.ndarray, *, weights_SR: np.ndarray) -> LeastSquares:
    """The best of the starts of each data set, brought to its minimum of weighted squares."""
    sets, starts = starts_SKP.shape[:2]
    wide = replace(problem, delta=_LEAST_SQUARES, log_loss_R=_rows(problem, sets))
    flat = starts_SKP.reshape(sets * starts, P)
    owner = np.repeat(np.arange(sets), starts)
    first = wide.for_candidates(owner).values(flat, weights_BR=weights_SR[owner]).reshape(sets, starts)
    order = np.argsort(first, axis=1)[:, :_STARTS]
    chosen = np.take_along_axis(starts_SKP, order[:, :, None], axis=1)
    kept = chosen.shape[1]
    owner = np.repeat(np.arange(sets), kept)
    found = minimise(wide.for_candidates(owner), chosen.reshape(-1, P), weights_BR=weights_SR[owner])
    value = found.value_B.reshape(sets, kept)
    best = value.argmin(axis=1)
    theta = found.theta_BP.reshape(sets, kept, P)[np.arange(sets), best]
    return LeastSquares(theta, value[np.arange(sets), best])


def profile_ends(
    problem: Objective,
    found: LeastSquares,
    *,
    weights_SR: np.ndarray,
    quantities: Sequence[Quantity],
    level: float = LEVEL,
) -> Ends:
    """The intervals of every data set and quantity.

    Raises AssertionError for five runs or fewer, from which no noise can be told.
    """
    freedom = problem.runs - P
    assert freedom >= 1, "no degree of freedom is left"
    rise = float(stdtrit(freedom, (1 + level) / 2)) ** 2 / freedom
    for _ in range(3):
        walk = _Walk(problem, found, weights_SR=weights_SR, quantities=quantities, rise=rise)
        ends = walk.run()
        better_S = walk.least_S < found.value_S * (1 - 1e-6) - 1e-18
        if not better_S.any():
            break
        # a walk passed a better law: that one is the least squares, and the walks are made anew from it
        again = minimise(
            walk.wide.for_candidates(np.flatnonzero(better_S)),
            walk.least_SP[better_S],
            weights_BR=weights_SR[better_S],
        )
        theta_SP, value_S = found.theta_SP.copy(), found.value_S.copy()
        theta_SP[better_S], value_S[better_S] = again.theta_BP, again.value_B
        found = LeastSquares(theta_SP, value_S)
    return ends


def _rows(problem: Objective, sets: int) -> np.ndarray:
    return np.broadcast_to(np.atleast_2d(problem.log_loss_R), (sets, problem.runs))


class _Walk:
    """All walks of one call: where each stands, how far it may go, what it met."""

    def __init__(
        self,
        problem: Objective,
        found: LeastSquares,
        *,
        weights_SR: np.ndarray,
        quantities: Sequence[Quantity],
        rise: float,
    ) -> None:
        sets, asked = len(found.theta_SP), len(quantities)
        self.shape = (sets, asked)
        self.quantities = quantities
        self.centres = Centres.of(problem)
        self.wide = replace(problem, delta=_LEAST_SQUARES, log_loss_R=_rows(problem, sets))
        self.owner_B = np.repeat(np.arange(sets), 2 * asked)
        self.weights_BR = weights_SR[self.owner_B]
        self.which_B = np.tile(np.repeat(np.arange(asked), 2), sets)
        self.sign_B = np.tile([-1.0, 1.0], sets * asked)
        # a fit without any residual has no noise to speak of; rounding of the losses is some
        floor = 0.5 * problem.runs * 1e-18
        self.minimum_B = np.maximum(found.value_S, floor)[self.owner_B]
        self.ceiling_B = self.minimum_B * (1 + rise)
        self.start_BP = found.theta_SP[self.owner_B]
        self.best_B, slope_BP = evaluate(quantities, self.which_B, self.start_BP, self.centres)
        hessian = self.wide.curvature(found.theta_SP, weights_BR=weights_SR).majorizer_BPP
        inverse = np.linalg.pinv(hessian, rcond=1e-12, hermitian=True)[self.owner_B]
        variance_B = np.einsum("bp,bpq,bq->b", slope_BP, inverse, slope_BP)
        length_B = np.sqrt(2 * (self.ceiling_B - self.minimum_B) * np.maximum(variance_B, 1e-300))
        self.length_B = np.clip(length_B, 1e-7, 2.0)
        self.pull_B = _PULL * 2 * (self.ceiling_B - self.minimum_B) / self.length_B**2
        self.least_S, self.least_SP = found.value_S.copy(), found.theta_SP.copy()

    def _at(self, index: np.ndarray, place: np.ndarray, near_BP: np.ndarray) -> tuple[np.ndarray, ...]:
        """Refit these walks with their quantity pulled to `place`: where psi came to lie, half S, the law."""
        plain = self.wide.for_candidates(self.owner_B[index])
        pulled = _Pulled(plain, self.quantities, self.which_B[index], place, self.pull_B[index], self.centres)
        weights = self.weights_BR[index]
        theta = minimise(pulled, near_BP, weights_BR=weights, iterations=_SOLVER_STEPS).theta_BP
        value = plain.values(theta, weights_BR=weights)
        psi, _ = evaluate(self.quantities, self.which_B[index], theta, self.centres)
        for walk in np.flatnonzero(value < self.least_S[self.owner_B[index]]):
            owner = self.owner_B[index[walk]]
            if value[walk] < self.least_S[owner]:
                self.least_S[owner], self.least_SP[owner] = value[walk], theta[walk]
        return psi, value, theta

    def run(self) -> Ends:
        count = len(self.owner_B)
        inside_B, inside_value_B, inside_BP = self.best_B.copy(), self.minimum_B.copy(), self.start_BP.copy()
        outside_B, outside_value_B = np.full(count, np.nan), np.full(count, np.nan)
        live = np.arange(count)
        for stride in _STRIDES:
            reach = np.minimum(stride * self.length_B[live], _FARTHEST)
            place = self.best_B[live] + self.sign_B[live] * reach
            psi, value, theta = self._at(live, place, inside_BP[live])
            beyond = value > self.ceiling_B[live]
            ahead = (psi - inside_B[live]) * self.sign_B[live] > 0
            outside_B[live[beyond]], outside_value_B[live[beyond]] = psi[beyond], value[beyond]
            moved = ~beyond & ahead
            inside_B[live[moved]], inside_value_B[live[moved]] = psi[moved], value[moved]
            inside_BP[live[moved]] = theta[moved]
            # a quantity that stays far behind its pull stands against a bound of the search: that side is open
            stuck = ~beyond & (np.abs(psi - place) > 0.5 * stride * self.length_B[live])
            live = live[~beyond & ~stuck & (reach < _FARTHEST)]
            if len(live) == 0:
                break
        self._close_in(inside_B, inside_value_B, inside_BP, outside_B, outside_value_B)
        # the end: between the last law inside and the first outside, by the root of the rise
        end_B = np.where(
            np.isnan(outside_B), np.nan, self._crossing(inside_B, inside_value_B, outside_B, outside_value_B)
        )
        for index, quantity in enumerate(self.quantities):
            if quantity.logarithmic:
                mine = self.which_B == index
                end_B[mine] = np.exp(end_B[mine])
        low, high = end_B.reshape(*self.shape, 2).transpose(2, 0, 1)
        return Ends(low, high)

    def _close_in(
        self,
        inside_B: np.ndarray,
        inside_value_B: np.ndarray,
        inside_BP: np.ndarray,
        outside_B: np.ndarray,
        outside_value_B: np.ndarray,
    ) -> None:
        live = np.flatnonzero(~np.isnan(outside_B))
        for step in range(_CLOSINGS):
            if len(live) == 0:
                return
            guess = self._crossing(
                inside_B[live], inside_value_B[live], outside_B[live], outside_value_B[live], live
            )
            middle = 0.5 * (inside_B[live] + outside_B[live])
            place = middle if step % 3 == 2 else guess
            psi, value, theta = self._at(live, place, inside_BP[live])
            beyond = value > self.ceiling_B[live]
            nearer = (outside_B[live] - psi) * self.sign_B[live] > 0
            at = live[beyond & nearer]
            outside_B[at], outside_value_B[at] = psi[beyond & nearer], value[beyond & nearer]
            further = ~beyond & ((psi - inside_B[live]) * self.sign_B[live] > 0)
            at = live[further]
            inside_B[at], inside_value_B[at], inside_BP[at] = psi[further], value[further], theta[further]
            live = live[
                np.abs(outside_B[live] - inside_B[live]) > 0.01 * np.abs(outside_B[live] - self.best_B[live])
            ]

    def _crossing(
        self,
        inside: np.ndarray,
        inside_value: np.ndarray,
        outside: np.ndarray,
        outside_value: np.ndarray,
        index: np.ndarray | None = None,
    ) -> np.ndarray:
        """Where the root of the rise, nearly straight in psi, passes the ceiling's."""
        chosen = slice(None) if index is None else index
        least, ceiling = self.minimum_B[chosen], self.ceiling_B[chosen]
        low, high, wanted = (np.sqrt(np.maximum(v - least, 0)) for v in (inside_value, outside_value, ceiling))
        share = (wanted - low) / np.maximum(high - low, 1e-300)
        crossing: np.ndarray = inside + np.clip(share, 0.02, 0.98) * (outside - inside)
        return crossing
