"""Reduce numbers, some of them missing, to one value per prompt or group.

The unit of every statistic is the prompt, or the group of prompts that belong together (one customer, one
document): samples of one prompt share what is hard about it. A missing cell is None or NaN and is left out and
counted; an infinite value has no mean and is named as such.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from finetrial.errors import UserError

Number = float | int | bool | None
# Two values closer than this share of their size differ by the rounding of a computation alone: far above a
# double's 2e-16 and what sums add to it, far below a step that a metric can take.
ROUNDING = 1e-12


def is_present(value: Number) -> TypeGuard[float]:
    """False for None and NaN."""
    return value is not None and not math.isnan(value)


def mean(values: Sequence[float]) -> float:
    """The plain mean, exactly rounded, so that the order of the values changes no digit."""
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """The unbiased variance (divisor n - 1), independent of the order of the values; exactly 0 for equal values."""
    if min(values) == max(values):
        return 0.0
    middle = mean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)


@dataclass(frozen=True)
class Present:
    """The countable values in ascending order, how many cells were missing, and why there is nothing to count."""

    values: tuple[float, ...]
    n_missing: int
    reason: str | None


def present(values: Sequence[Number]) -> Present:
    """The values that can be counted. With an infinite one among them nothing can be, and `reason` says so."""
    kept = sorted(float(value) for value in values if is_present(value))
    n_infinite = sum(math.isinf(value) for value in kept)
    if n_infinite:
        return Present((), len(values) - len(kept), f"{n_infinite} of {len(kept)} values are infinite")
    return Present(tuple(kept), len(values) - len(kept), None if kept else "there is no value")


def differences(a: Sequence[Number], b: Sequence[Number] | None) -> list[Number]:
    """a - b, prompt by prompt, missing where either is; `a` itself where `b` is None.

    Raises UserError where the two have different lengths.
    """
    if b is None:
        return list(a)
    if len(a) != len(b):
        raise UserError(
            "two arms can be paired only on the same prompts",
            got=f"{len(a)} and {len(b)} values",
            expected="equal lengths",
        )
    pairs = zip(a, b, strict=True)
    return [_difference(float(x), float(y)) if is_present(x) and is_present(y) else None for x, y in pairs]


def _difference(x: float, y: float) -> float:
    if math.isinf(x) or math.isinf(y):
        return math.inf
    return 0.0 if abs(x - y) <= ROUNDING * max(abs(x), abs(y)) else x - y


def largest_size(*rows: Sequence[Number]) -> float:
    """The largest size of the finite values; 0 where there is none."""
    finite = (abs(float(v)) for row in rows for v in row if is_present(v) and math.isfinite(v))
    return max(finite, default=0.0)


def unit_means(
    samples: Mapping[str, Sequence[Number]], *, groups: Mapping[str, str | None] | None = None
) -> dict[str, float | None]:
    """One value per unit: the mean of a prompt's samples, then the mean of a group's prompts.

    `samples` maps prompt ids to the values of that prompt's samples; `groups` maps prompt ids to their group,
    and a prompt without one is its own unit. A unit without any value is None. Each prompt counts alike in its
    group, however many samples it has.
    """
    by_unit: dict[str, list[float]] = defaultdict(list)
    for prompt, values in samples.items():
        kept = [float(value) for value in values if is_present(value)]
        group = (groups or {}).get(prompt)
        unit = by_unit[prompt if group is None else group]
        if kept:
            unit.append(mean(kept) if all(map(math.isfinite, kept)) else math.inf)
    return {
        unit: None if not means else mean(means) if all(map(math.isfinite, means)) else math.inf
        for unit, means in by_unit.items()
    }
