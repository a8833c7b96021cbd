"""Compare bits a byte of two models that read the same texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.stats.intervals import mean_interval


@dataclass(frozen=True, slots=True)
class UnitBits:
    """The bits that one unit (a document, a prompt, a group of prompts) costs a model."""

    unit: str
    n_bytes: int
    bits: float


@dataclass(frozen=True, slots=True)
class BitsBeside:
    """Bits a byte more than the other model's, with the 95 % interval over units; None where undefined."""

    difference: float | None
    low: float | None = None
    high: float | None = None
    worse: int = 0  # units that cost more
    reason: str | None = None


def bits_beside(own: Sequence[UnitBits], other: Sequence[UnitBits], *, seed: int, unit: str) -> BitsBeside:
    """The difference of two ratios of sums, paired: both models read the same units.

    The interval is that of the mean of each unit's residual about the ratio (Cochran, "Sampling Techniques", 1977,
    chapter 6).
    """
    if [(row.unit, row.n_bytes) for row in own] != [(row.unit, row.n_bytes) for row in other]:
        return BitsBeside(None, reason="the base read another text")
    n_bytes = sum(row.n_bytes for row in own)
    gaps = [mine.bits - theirs.bits for mine, theirs in zip(own, other, strict=True)]
    difference = math.fsum(gaps) / n_bytes
    size = n_bytes / len(own)
    residuals = [(gap - difference * row.n_bytes) / size for gap, row in zip(gaps, own, strict=True)]
    interval = mean_interval([difference + residual for residual in residuals], seed=seed, unit=unit)
    return BitsBeside(difference, interval.low, interval.high, sum(gap > 0 for gap in gaps), interval.reason)
