"""Test prompt differences so that one may look at any time, and stop when enough is known.

An e-process is what a gambler's stake has grown to who may not win on average where nothing differs: it exceeds
1/alpha ever, however often one looks, with probability at most alpha (Ville 1939; Ramdas, Gruenwald, Vovk & Shafer,
"Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38, 2023).

- For the sign-flip null, that a difference could as well have had the other sign, the stake is multiplied by
  2 exp(l d) / (exp(l d) + exp(-l d)): over the two signs its mean is 1 whatever the size of d.
- That a mean lies below a bound is bet against by 1 + l (d - bound), which a mean below it makes smaller on average
  (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024).

l is not chosen: the stake is spread over a grid of them. Differences lie between -1 and 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Stakes that suit differences from a twentieth to all of the range. An assumption; validity does not hang on it
_SLOPES = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
BETS = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])  # of the largest bet that cannot lose more than the stake
_LEAST = 1e-300


def log_mean_of_stakes(log_stakes_TL: np.ndarray) -> np.ndarray:
    """The log of the mean stake over the grid, at each time."""
    most_T = log_stakes_TL.max(axis=-1)
    mean: np.ndarray = most_T + np.log(np.exp(log_stakes_TL - most_T[..., None]).mean(axis=-1))
    return mean


def log_sign_flip_process(gaps: Sequence[float]) -> np.ndarray:
    """The log of the stake against the sign-flip null after each difference, in favour of differences above 0."""
    d = np.asarray(gaps, dtype=float)
    # log of 2 / (1 + exp(-2 l d)), for the slopes L
    growth_TL = math.log(2) - np.logaddexp(0.0, -2 * d[..., None] * _SLOPES)
    return log_mean_of_stakes(growth_TL.cumsum(axis=-2))


def log_above_process(gaps: Sequence[float], *, bound: float) -> np.ndarray:
    """The log of the stake, after each difference, against the mean being `bound` or less."""
    d = np.asarray(gaps, dtype=float)
    bets_L = BETS / (1 + bound)
    growth_TL = np.log(np.maximum(_LEAST, 1 + (d[..., None] - bound) * bets_L))
    return log_mean_of_stakes(growth_TL.cumsum(axis=-2))


@dataclass(frozen=True, slots=True)
class AnyTime:
    """Two arms after the prompts graded so far, in the order in which each was done.

    `p_better` and `p_worse` are any-time p-values of a not being better, and not worse, than b; `p_within` of the
    difference being margin or more. None before the first prompt.
    """

    n: int
    p_better: float | None
    p_worse: float | None
    p_within: float | None
    more: int | None  # prompts that would settle it if they went on as these did; 0: settled; None: none in sight

    @property
    def settled(self) -> bool:
        return self.more == 0


def people_paths(gaps: Sequence[float], *, margin: float) -> dict[str, np.ndarray]:
    """The stakes after each difference: that a is better, or worse, or above or below the margin's ends."""
    flipped = [-gap for gap in gaps]
    return {
        "better": log_sign_flip_process(gaps),
        "worse": log_sign_flip_process(flipped),
        "above": log_above_process(gaps, bound=-margin),
        "below": log_above_process(flipped, bound=-margin),
    }


def any_time(paths: Mapping[str, np.ndarray], *, alpha: float) -> AnyTime:
    """Where a grading stands that may stop at any time: a is better, or worse, or within the margin of b.

    Each direction is tested at alpha/2, so that naming the better arm is wrong with probability alpha at most; that
    the difference is within the margin, at alpha against either end.
    """
    n = len(paths["better"])
    if n == 0:
        return AnyTime(0, None, None, None, None)
    goals = {name: math.log((2 if name in ("better", "worse") else 1) / alpha) for name in paths}
    best = {name: float(path.max()) for name, path in paths.items()}
    lacking = {name: _more(path, goal=goals[name]) for name, path in paths.items()}
    within = None
    if lacking["above"] is not None and lacking["below"] is not None:
        within = max(lacking["above"], lacking["below"])
    ways = [way for way in (lacking["better"], lacking["worse"], within) if way is not None]
    p = {name: min(1.0, math.exp(-stake)) for name, stake in best.items()}
    return AnyTime(n, p["better"], p["worse"], max(p["above"], p["below"]), min(ways, default=None))


def _more(path: np.ndarray, *, goal: float) -> int | None:
    """The differences that would bring the stake to its goal at the pace so far; 0: it was there once."""
    if path.max() >= goal:
        return 0
    pace = float(path[-1]) / len(path)
    return math.ceil((goal - float(path[-1])) / pace) if pace > 0 else None


@dataclass(frozen=True, slots=True)
class Stand:
    """What may be told while grading goes on: nothing of which arm leads."""

    enough: bool
    prompts_more: int | None  # about; None: not known, or no end in sight


def stand_of(pairs: Sequence[AnyTime]) -> Stand:
    """All pairs together: enough where every pair is settled."""
    if pairs and all(pair.settled for pair in pairs):
        return Stand(True, 0)
    more = [pair.more for pair in pairs if not pair.settled]
    known = [n for n in more if n is not None]
    return Stand(False, max(known) if known and len(known) == len(more) else None)
