"""Define a metric: its name, title, bounds and direction, its signature, and how its values are computed.

A metric is per sample (`SampleMetric`, a number for each text, averaged over prompts), per arm (`ArmMetric`, one
number of all an arm's texts, as macro-F1 must be), or given (`GivenMetric`, numbers computed elsewhere).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.metrics.signature import Signature

Derived = TypeVar("Derived")


class ReferenceRule(enum.StrEnum):
    """Which reference counts where there are several."""

    BEST_PER_METRIC = "best_per_metric"  # each metric on the reference that is best for it: rouge-score's rule
    BEST_BY_PRIMARY = "best_by_primary"  # every metric on the reference that is best by the primary metric
    MEAN = "mean"  # the plain mean over the references


class Direction(enum.StrEnum):
    """Whether higher or lower values of a metric are better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"  # describes and does not judge: a length


class Row(Protocol):
    """The row of samples.jsonl that a text stands in, as far as a metric may read it."""

    @property
    def id(self) -> str: ...
    @property
    def prompt_id(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def turns(self) -> tuple[tuple[str, str], ...] | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def end_reason(self) -> str | None: ...
    @property
    def tokens(self) -> int | None: ...
    @property
    def logprob(self) -> float | None: ...
    @property
    def columns(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Output:
    """One generated text with its references, and its prompt as the data gave it, before the template."""

    text: str
    references: tuple[str, ...] = ()
    prompt: str = ""
    id: str = ""
    row: Row | None = None  # None: the text stands in no file of samples
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def derive(self, make: Callable[[Output], Derived]) -> Derived:
        """`make(self)`, computed once for equal `make`: tokens that several metrics share."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return cast(Derived, self._derived[make])


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides a score besides the texts."""

    primary: str | None = None
    metrics: tuple[str, ...] = ()  # all that are computed together, in their order
    references: ReferenceRule = ReferenceRule.BEST_BY_PRIMARY
    stemmer: bool = False
    unicode: bool = False
    base: Path = Path()  # the folder that files of a metric are relative to


Values = Sequence[float | None]  # one for each output; None where undefined
Compute = Callable[[Sequence[Output], Settings], Values]
Summarise = Callable[[Sequence[Output], Settings], float | None]


def each(function: Callable[[Output, Settings], float | None]) -> Compute:
    """A metric's `compute` from a function of one output."""
    return lambda outputs, settings: [function(output, settings) for output in outputs]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What every metric says of itself."""

    name: str  # as the trial file and scores.jsonl write it
    title: str  # as people write it
    about: str = ""  # what a value says of a text, in a clause
    bounds: tuple[float, float] | None = None  # the least and largest value; None: not bounded
    direction: Direction = Direction.HIGHER
    needs_references: bool = False  # not asked of a text without one: its value there is None
    version: str | None = None  # of the package it comes from; None: finetrial's own
    sign: Callable[[Settings], str] | None = None  # how a value is computed, where the settings decide something

    @property
    def factor(self) -> float:
        """-1 where lower values are better, else 1: differences times this are gains."""
        return -1.0 if self.direction is Direction.LOWER else 1.0

    @property
    def scale(self) -> str:
        """How to read its values, as a clause."""
        return _scale(self)

    def signature(self, settings: Settings) -> str:
        """How its values are computed. Values compare only where their signatures are equal."""
        if self.sign is not None:
            return self.sign(settings)
        return str(Signature(self.name, version=self.version or __version__))

    def ranking(self, values: Mapping[str, float | None]) -> tuple[str, ...]:
        """The names that have a value, the best first, ties in their order."""
        known = {name: value for name, value in values.items() if value is not None}
        return tuple(sorted(known, key=lambda name: -self.factor * known[name]))

    def best(self, values: Mapping[str, float | None]) -> tuple[str, ...]:
        """The names with the best value: several where they tie, none where higher is neither better nor worse."""
        known = {name: value for name, value in values.items() if value is not None}
        if not known or self.direction is Direction.NEITHER:
            return ()
        top = max(self.factor * value for value in known.values())
        return tuple(name for name, value in known.items() if self.factor * value == top)


def _finite(value: float | None, infinite: str) -> float | None:
    """The value as a float, None for NaN."""
    if value is None or math.isnan(value):
        return None
    if math.isinf(value):
        raise UserError(infinite, fix="Return None where undefined.")
    return float(value)


def _scale(metric: Metric) -> str:
    span = "" if metric.bounds is None else f"from {metric.bounds[0]:g} to {metric.bounds[1]:g}, "
    if metric.direction is Direction.NEITHER:
        return f"{span}neither higher nor lower is better"
    return f"{span}{metric.direction} is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedMetric(Metric):
    """What a metric that finetrial computes says besides: `SampleMetric` or `ArmMetric`."""

    warn: Callable[[Sequence[Output], Settings], Iterable[str]] | None = None  # what to bear in mind of these texts
    unseen: Callable[[Sequence[Output], Settings], str | None] | None = None  # letters in them that it does not see
    prepare: Callable[[Settings], None] | None = None  # raises UserError where it cannot be computed: before tuning
    files: tuple[str, ...] = ()  # that decide its values, relative to the trial file


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMetric(ComputedMetric):
    """A number for each text. `compute` gets all texts at once, so that it may work in batches."""

    compute: Compute
    recomputable: bool = True  # False: `finetrial verify` counts its values as given

    def values(self, outputs: Sequence[Output], settings: Settings) -> list[float | None]:
        """One value for each output, None where undefined. Raises UserError for another number, or infinity."""
        values = list(self.compute(outputs, settings))
        if len(values) != len(outputs):
            raise UserError(
                f"{self.name} computed another number of values", got=len(values), expected=len(outputs)
            )
        return [
            _finite(value, f"{self.name} is infinite for the sample {output.id}")
            for output, value in zip(outputs, values, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMetric(ComputedMetric):
    """One number of all of an arm's texts. A text may stand several times: intervals resample prompts."""

    compute: Summarise
    detail: Callable[[Sequence[Output], Settings], Any] | None = None  # a frozen dataclass, for results.json

    def value(self, outputs: Sequence[Output], settings: Settings) -> float | None:
        """The number of these outputs; None where undefined. Raises UserError for an infinite one."""
        return _finite(self.compute(outputs, settings), f"{self.name} is infinite for {len(outputs)} samples")

    @property
    def scale(self) -> str:
        return f"of all an arm's samples at once, {_scale(self)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenMetric(Metric):
    """Numbers that finetrial analyses and does not compute: people's grades, a column from elsewhere."""
