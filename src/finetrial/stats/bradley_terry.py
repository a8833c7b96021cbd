"""Estimate the strength of each arm from choices between pairs (Bradley-Terry).

Bradley & Terry, "Rank analysis of incomplete block designs", 1952: i beats j with probability p_i / (p_i +
p_j). A tie is half a win for either. Fitted by Hunter's minorisation-maximisation ("MM algorithms for
generalized Bradley-Terry models", 2004, equation 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.stats.intervals import check_level

RESAMPLES = 1_999
# Below five prompts a bootstrap over prompts has fewer than 126 distinct resamples and its bounds mean little.
FEWEST_UNITS = 5
_MOST_UNDEFINED = 0.05  # of the resamples; assumption: beyond, the rest say little of all
_ROUNDS = 2_000  # of the fit of all resamples at once; what has not settled by then is next to unbounded

Wins = Mapping[tuple[str, str], float]  # (winner, loser) -> how often; a tie is one half to each


@dataclass(frozen=True)
class Strength:
    """Log strength of an arm relative to the mean of all (which is 0), with its bounds where there are any."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class BradleyTerry:
    """Log strengths by arm; None where the comparisons do not determine them. `reason`: why what is not known."""

    strengths: Mapping[str, Strength] | None
    level: float
    n_comparisons: float
    reason: str | None = None

    def probability(self, a: str, b: str) -> float | None:
        """The chance that `a` is preferred to `b`."""
        if self.strengths is None:
            return None
        return float(1 / (1 + np.exp(self.strengths[b].value - self.strengths[a].value)))


def bradley_terry(units: Sequence[Wins], *, level: float = 0.95, seed: int = 0) -> BradleyTerry:
    """Strengths from the choices of each unit (prompt or group), with percentile bounds over resampled units.

    Choices under one prompt are not independent, so whole prompts are drawn again. The strengths exist only where
    every arm, directly or through others, both beats and is beaten by every other (Ford 1957); where more than one
    resample in twenty has none, or every resample has the same, there are no bounds.
    """
    check_level(level)
    counts = [count for wins in units for count in wins.values()]
    if any(a == b for wins in units for a, b in wins) or any(not (np.isfinite(n) and n >= 0) for n in counts):
        raise UserError("wins are counts between two different arms, zero or more")
    arms = sorted({arm for wins in units for pair in wins for arm in pair})
    place = {arm: i for i, arm in enumerate(arms)}
    wins_UAA = np.zeros((len(units), len(arms), len(arms)))
    for unit, wins in enumerate(units):
        for (winner, loser), count in sorted(wins.items()):
            wins_UAA[unit, place[winner], place[loser]] += count
    wins_UAA = wins_UAA[np.lexsort(wins_UAA.reshape(len(units), -1).T)] if arms else wins_UAA  # order says nothing
    wins_AA = wins_UAA.sum(axis=0)
    total = float(wins_AA.sum())
    if len(arms) < 2 or total == 0:
        return BradleyTerry(None, level, total, "nothing was compared")
    reachable = _reachable(wins_AA)
    if not reachable.all():
        i, j = np.argwhere(~reachable)[0]
        reason = (
            f"{arms[i]} was never preferred to {arms[j]}, directly or through others: its strength has no bound"
        )
        return BradleyTerry(None, level, total, reason)
    logs_A = _log_strengths(wins_AA[None])[0]
    bounds_2A, unbounded = _bounds(wins_UAA, level=level, seed=seed)
    lows, highs = ([None] * len(arms),) * 2 if bounds_2A is None else bounds_2A.tolist()
    strengths = {arm: Strength(float(logs_A[i]), lows[i], highs[i]) for arm, i in place.items()}
    return BradleyTerry(strengths, level, total, unbounded)


def _reachable(wins_XAA: np.ndarray) -> np.ndarray:
    """Whether arm i beats arm j, directly or through others."""
    n = wins_XAA.shape[-1]
    found: np.ndarray = np.linalg.matrix_power((wins_XAA > 0).astype(float) + np.eye(n), n) > 0
    return found


def _log_strengths(wins_BAA: np.ndarray) -> np.ndarray:
    """The fit of each table of wins, by minorisation and maximisation."""
    played_BAA, won_BA = wins_BAA + wins_BAA.swapaxes(1, 2), wins_BAA.sum(axis=2)
    strength_BA = np.ones(won_BA.shape)
    for _ in range(_ROUNDS):
        expected_BA = (played_BAA / (strength_BA[:, :, None] + strength_BA[:, None, :])).sum(axis=2)
        updated_BA = won_BA / expected_BA
        updated_BA /= np.exp(np.log(updated_BA).mean(axis=1, keepdims=True))
        change = float(np.abs(np.log(updated_BA / strength_BA)).max())
        strength_BA = updated_BA
        if change < 1e-12:
            break
    logs: np.ndarray = np.log(strength_BA)
    return logs


def _bounds(wins_UAA: np.ndarray, *, level: float, seed: int) -> tuple[np.ndarray | None, str | None]:
    """The lower and upper bound of each arm's strength over resampled units, or the reason why there are none."""
    n = len(wins_UAA)
    if n < FEWEST_UNITS:
        return None, f"fewer than {FEWEST_UNITS} prompts were compared: no bounds"
    rng = np.random.default_rng(seed)
    drawn_BU = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
    wins_BAA = np.tensordot(drawn_BU, wins_UAA, axes=1)
    exists_B = _reachable(wins_BAA).all(axis=(1, 2))
    if exists_B.mean() < 1 - _MOST_UNDEFINED:
        return None, "in many resamples of the prompts one arm is never preferred to another: no bounds"
    logs_BA = _log_strengths(wins_BAA[exists_B])
    if np.ptp(logs_BA, axis=0).max() < 1e-9:
        return None, "every prompt gives the same choices: the data say nothing of the spread between prompts"
    bounds: np.ndarray = np.quantile(logs_BA, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return bounds, None
