"""What can be concluded from a trial's scores and grades?

The shape alone: whoever compares arms returns it, the report shows what is present and leaves out what is not.
Field names are those of `finetrial score --json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of an arm's mean."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pair:
    """Two arms compared by one metric on the prompts both answered; `difference` is a minus b."""

    metric: str
    a: str
    b: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # None: not in the family named before the trial
    wins: int
    losses: int
    ties: int
    question: Literal["these", "new", "retrained"]


@dataclass(frozen=True, slots=True)
class Good:
    """Samples that people called good."""

    good: int
    of: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """How often something goes wrong in each arm, beside the references' own rate. Shares from 0 to 1."""

    name: str
    definition: str
    arms: Mapping[str, float | None]
    references: float | None


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a comparison may add to plain means. Empty or None: not available."""

    verdict: str | None = None
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)  # metric -> arm
    pairs: tuple[Pair, ...] = ()
    good: Mapping[str, Good] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    warnings: tuple[str, ...] = ()
