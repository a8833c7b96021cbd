"""Estimate the strength of each arm from choices between pairs (Bradley-Terry).

Bradley & Terry, "Rank analysis of incomplete block designs", 1952: i beats j with probability p_i / (p_i +
p_j). A tie is half a win for either. Fitted by Hunter's minorisation-maximisation ("MM algorithms for
generalized Bradley-Terry models", 2004, equation 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.stats.intervals import check_level, normal_quantile


@dataclass(frozen=True)
class Strength:
    """Log strength of an arm relative to the mean of all (which is 0), with Wald bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class BradleyTerry:
    """Log strengths by arm; None where the comparisons do not determine them, and `reason` says why."""

    strengths: Mapping[str, Strength] | None
    level: float
    n_comparisons: float
    reason: str | None = None

    def probability(self, a: str, b: str) -> float | None:
        """The chance that `a` is preferred to `b`."""
        if self.strengths is None:
            return None
        return float(1 / (1 + np.exp(self.strengths[b].value - self.strengths[a].value)))


def bradley_terry(wins: Mapping[tuple[str, str], float], *, level: float = 0.95) -> BradleyTerry:
    """Strengths from `wins[winner, loser]`, how often one was preferred to the other (a tie: one half to each).

    The strengths exist only where every arm, directly or through others, both beats and is beaten by every
    other (Ford 1957). The bounds take the comparisons as independent: several of one prompt are not, so give
    one per prompt or read the bounds as too narrow.
    """
    check_level(level)
    if any(a == b for a, b in wins) or any(not (np.isfinite(count) and count >= 0) for count in wins.values()):
        raise UserError("wins are counts between two different arms, zero or more")
    arms = sorted({arm for pair in wins for arm in pair})
    place = {arm: i for i, arm in enumerate(arms)}
    wins_AA = np.zeros((len(arms), len(arms)))
    for (winner, loser), count in wins.items():
        wins_AA[place[winner], place[loser]] += count
    total = float(wins_AA.sum())
    if len(arms) < 2 or total == 0:
        return BradleyTerry(None, level, total, "nothing was compared")
    reachable = np.linalg.matrix_power((wins_AA > 0).astype(float) + np.eye(len(arms)), len(arms)) > 0
    if not reachable.all():
        i, j = np.argwhere(~reachable)[0]
        reason = (
            f"{arms[i]} was never preferred to {arms[j]}, directly or through others: its strength has no bound"
        )
        return BradleyTerry(None, level, total, reason)
    played_AA = wins_AA + wins_AA.T
    strength = np.ones(len(arms))
    for _ in range(10_000):
        denominators = (played_AA / (strength[:, None] + strength[None, :])).sum(axis=1)
        updated = wins_AA.sum(axis=1) / denominators
        updated /= np.exp(np.log(updated).mean())
        change = float(np.abs(np.log(updated / strength)).max())
        strength = updated
        if change < 1e-12:
            break
    chance_AA = strength[:, None] / (strength[:, None] + strength[None, :])
    weight_AA = played_AA * chance_AA * (1 - chance_AA)
    information = np.diag(weight_AA.sum(axis=1)) - weight_AA
    errors = np.sqrt(np.diag(np.linalg.pinv(information)))  # the inverse under sum zero
    reach = normal_quantile((1 + level) / 2) * errors
    logs = np.log(strength)
    strengths = {
        arm: Strength(float(logs[i]), float(logs[i] - reach[i]), float(logs[i] + reach[i]))
        for arm, i in place.items()
    }
    return BradleyTerry(strengths, level, total)
