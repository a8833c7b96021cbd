"""Record what pilots came to, pilots/<arm>/1-in-<part>.json, and what was decided from them, early.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import with_config

from finetrial.store.records import STRICT, read_object, write_object


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class RowCost:
    """What a validation row costs a model: a row of validation.jsonl, and of a pilot."""

    example_id: str
    tokens: int  # that carry loss
    nats: float  # minus the log-likelihood of these tokens


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class PilotRecord:
    """One pilot: an arm tuned on a part of its rows, its schedule run to the end."""

    arm: str
    part: int  # one in so many of the rows
    rows: int
    full_rows: int  # the arm's
    seed: int
    learning_rate: float | None  # None: stopped before its first step
    steps: int
    tokens: int  # processed by its steps
    full_tokens: int  # what the steps of the whole run process
    validation_tokens: int  # processed to measure its loss
    seconds: float
    flops: float | None  # of its steps and evaluations
    stopped: str | None  # why it did not come to its end, in words
    validation: tuple[RowCost, ...]  # by id; empty where it was stopped

    @property
    def loss(self) -> float | None:
        """Nats a validation token; None where it was stopped."""
        tokens = sum(row.tokens for row in self.validation)
        return math.fsum(row.nats for row in self.validation) / tokens if tokens else None


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class DroppedArm:
    """An arm that was dropped: after its pilot on one in `part` of its rows, and how probably it was the best."""

    arm: str
    part: int
    probability: float


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class EarlyRecord:
    """What was decided: early.json. All of it follows from the pilots."""

    rule: int
    risk: float
    parts: tuple[int, ...]  # the pilots' shares: one in so many of the rows
    arms: tuple[str, ...]  # that had pilots
    dropped: tuple[DroppedArm, ...]
    left: tuple[str, ...]
    undecided: tuple[str, ...]
    probabilities: Mapping[str, float]  # of every arm, when it was last asked


def write_pilot(path: Path, pilot: PilotRecord) -> None:
    """Write a pilot's record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_object(path, pilot)


def read_pilot(path: Path) -> PilotRecord | None:
    """Read a pilot's record; None where there is none."""
    return read_object(path, PilotRecord) if path.exists() else None


def read_early(path: Path) -> EarlyRecord | None:
    """Read early.json; None where there is none."""
    return read_object(path, EarlyRecord) if path.exists() else None
