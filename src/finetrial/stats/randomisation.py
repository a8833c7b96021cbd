"""Compare numbers that are computed of all of an arm's texts at once, by resampling and swapping units.

Such a number (macro-F1) has no value per prompt, so that neither Student's t nor the sign-flip test applies. Its
interval is that of the bootstrap over units, bias-corrected and accelerated (Efron, "Better bootstrap confidence
intervals", 1987). Its test swaps the two arms' texts within units (approximate randomisation: Noreen,
"Computer-intensive methods for testing hypotheses", 1989; for F measures Yeh, "More accurate tests for the
statistical significance of result differences", 2000).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from finetrial.stats.comparison import Comparison, Question, agreeing
from finetrial.stats.intervals import Interval, Method, check_level, normal_quantile
from finetrial.stats.unit_values import mean

Item = TypeVar("Item")
Units = Sequence[Sequence[Item]]  # the items of each unit
Statistic = Callable[[Sequence[Item]], float | None]

# So that the 2.5 % points are order statistics; each draw computes the statistic anew, some 0.1 ms for 300 texts.
DRAWS = 1_999
# Measured on macro-F1 of three labels, the rarest a tenth (docs/statistics.md): 15 units cover 83 %, 20 cover 90 %.
FEWEST_UNITS = 20
_MOST_UNDEFINED = 0.05  # of the resamples; assumption: beyond, the rest say little of all
_ROUNDING = 1e-12


def _items(units: Iterable[Sequence[Item]]) -> list[Item]:
    return [item for unit in units for item in unit]


def _bca(
    value_of: Callable[[Sequence[int]], float | None],
    *,
    n: int,
    level: float,
    seed: int,
    bounds: tuple[float, float] | None,
    unit: str,
) -> Interval:
    """The interval of a value that is computed of units by their numbers, repetitions allowed."""
    check_level(level)
    estimate = value_of(range(n))
    shape = (level, n, 0)
    if estimate is None:
        return Interval(None, None, None, *shape, None, "it is not defined for these texts")
    if n < FEWEST_UNITS:
        reason = f"{n} {unit}{'s' * (n != 1)}: a bootstrap needs {FEWEST_UNITS} or more"
        return Interval(estimate, None, None, *shape, None, reason)
    rng = np.random.default_rng(seed)
    drawn = (value_of(rng.integers(0, n, size=n).tolist()) for _ in range(DRAWS))
    values = np.sort(np.array([value for value in drawn if value is not None]))
    left_out = [value_of([*range(i), *range(i + 1, n)]) for i in range(n)]
    known = [value for value in left_out if value is not None]
    if len(values) < (1 - _MOST_UNDEFINED) * DRAWS or len(known) < n:
        return Interval(estimate, None, None, *shape, None, f"it is not defined for many resamples of the {unit}s")
    if values[0] == values[-1]:
        reason = f"every resample has the same value: the data say nothing of the spread between {unit}s"
        return Interval(estimate, None, None, *shape, None, reason)
    low, high = _bca_points(values, estimate, known, level=level)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(estimate, low, high, *shape, Method.BCA, None, seed)


def _bca_points(
    values: np.ndarray, estimate: float, left_out: Sequence[float], *, level: float
) -> tuple[float, float]:
    """The resampled values at the corrected levels (Efron 1987, equations 6.5 and 6.6)."""
    below = (float((values < estimate).sum()) + float((values == estimate).sum()) / 2) / len(values)
    bias = normal_quantile(min(max(below, 1 / len(values)), 1 - 1 / len(values)))
    middle = mean(left_out)
    squares = math.fsum((middle - value) ** 2 for value in left_out)
    cubes = math.fsum((middle - value) ** 3 for value in left_out)
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + normal_quantile(tail)
        corrected = _normal_cdf(bias + z / (1 - acceleration * z))
        place = round(corrected * (len(values) + 1)) - 1
        ends.append(float(values[min(max(place, 0), len(values) - 1)]))
    return ends[0], ends[1]


def _normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def bootstrap_interval(
    units: Units[Item],
    *,
    statistic: Statistic[Item],
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Interval:
    """Bounds of `statistic` over new units. `units` holds each unit's items; `bounds` are the statistic's own."""
    value_of = lambda numbers: statistic(_items(units[i] for i in numbers))
    return _bca(value_of, n=len(units), level=level, seed=seed, bounds=bounds, unit=unit)


def _masks(n: int, *, seed: int) -> tuple[Iterator[Sequence[bool]], bool]:
    """Which of n units to swap: every choice up to its mirror where these are few enough, else drawn ones."""
    if n and 2 ** (n - 1) <= DRAWS:
        return ((False, *mask) for mask in itertools.product((False, True), repeat=n - 1)), True
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 2, size=n, dtype=np.uint8).astype(bool).tolist() for _ in range(DRAWS)), False


def compare_by_swapping(
    a: Units[Item],
    b: Units[Item],
    *,
    statistic: Statistic[Item],
    key: Callable[[Item], Hashable] = lambda item: item,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Comparison:
    """Question `new` for a statistic of all items: unit i of `a` and of `b` is the same prompt or group.

    Were the arms alike, each unit's items could as well have come from the other arm: p is the share of such swaps
    with a difference as large as seen; all swaps where they are few, else drawn with the +1 rule. Units whose items
    have the same keys in both arms change nothing and are not swapped. Units that either arm lacks are left out and
    counted. No unit wins or loses.
    """
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if x and y]
    n, n_missing = len(pairs), len(a) - len(pairs)

    def difference(pairs: Iterable[tuple[Sequence[Item], Sequence[Item]]]) -> float | None:
        kept = list(pairs)
        one, other = statistic(_items(x for x, _ in kept)), statistic(_items(y for _, y in kept))
        return None if one is None or other is None else one - other

    observed = difference(pairs)
    counts = (level, n, n_missing, None, None, None)
    if observed is None:
        return Comparison(Question.NEW, None, None, None, None, *counts, reason=_undefined(n))
    are_same = [Counter(map(key, x)) == Counter(map(key, y)) for x, y in pairs]
    same = [pair for pair, is_same in zip(pairs, are_same, strict=True) if is_same]
    differing = [pair for pair, is_same in zip(pairs, are_same, strict=True) if not is_same]
    p, smallest = 1.0, None
    if differing:
        masks, exact = _masks(len(differing), seed=seed)
        reached = swaps = 0
        for mask in masks:
            swapped = [(y, x) if swap else (x, y) for (x, y), swap in zip(differing, mask, strict=True)]
            found = difference([*same, *swapped])
            swaps += 1
            # a swap without a value counts as reaching it, which errs towards "no difference"
            reached += found is None or abs(found) >= abs(observed) - _ROUNDING
        p = reached / swaps if exact else (reached + 1) / (swaps + 1)
        smallest = 1 / swaps if exact else 1 / (swaps + 1)
    limits = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    value_of = lambda numbers: difference(pairs[i] for i in numbers)
    interval = _bca(value_of, n=n, level=level, seed=seed, bounds=limits, unit=unit)
    low, high = agreeing(interval.low, interval.high, difference=observed, p=p, level=level)
    return Comparison(Question.NEW, observed, low, high, p, *counts, smallest, reason=interval.reason)


def _undefined(n: int) -> str:
    return "it is not defined for these texts" if n else "no prompt has texts of both arms"
