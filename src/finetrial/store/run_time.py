"""How long a whole run was planned to take, and took, as a record: run_time.json.

Written by a run that had all of its plan before it; one that goes on where another stopped has only a part to
compare, and leaves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrial.store.plan_record import PlannedStep
from finetrial.store.records import read_object, write_object

# Of the plan's steps, those before the clock can be read and behind the record itself.
_OUTSIDE = ("start", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """From the trial file to the scores: data, planning, tuning, sampling and scoring; judges are not planned."""

    planned_seconds: float
    seconds: float  # by the clock


def planned_run_seconds(steps: Sequence[PlannedStep]) -> float | None:
    """What the plan gives for that; None where it does not know one of the steps."""
    found = [step.seconds_left for step in steps if step.kind not in _OUTSIDE]
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) if known and len(known) == len(found) else None


def write_run_time(path: Path, run: RunTime) -> None:
    """Write run_time.json."""
    write_object(path, run)


def read_run_time(path: Path) -> RunTime | None:
    """The record; None where no run left one."""
    return read_object(path, RunTime) if path.exists() else None
