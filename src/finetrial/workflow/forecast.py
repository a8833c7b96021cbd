"""How long a whole run will still take: the work to come at the rates that tuning and sampling have shown.

Work is counted in tokens that pass forward (`training.steps`): a method's steps cost two or three passes, a
generated token a few. What has not been timed yet goes at the rate of tuning, so that the first arm's pace already
says what the run will come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["tune", "sample"]

# A generated token reads the weights and the cache for few rows at a time. Assumption, until an arm was sampled.
DECODING_WORK = 3.0


@dataclass(frozen=True, slots=True)
class Job:
    """One search, training run or arm's sampling that is still to be done."""

    name: str
    arm: str
    kind: Kind
    work: float


class Forecast:
    """What is left of a run. Jobs are begun and ended by name; those it does not know change nothing."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._seconds: dict[Kind, float] = {"tune": 0.0, "sample": 0.0}
        self._work: dict[Kind, float] = {"tune": 0.0, "sample": 0.0}
        self._now: tuple[str, float, float | None] | None = None  # the job at work, its seconds, what it has left

    def progress(self, name: str, *, seconds: float, seconds_left: float | None) -> None:
        """The job is at work since `seconds`, and knows what it has left, or not yet."""
        if name in self._jobs:
            self._now = (name, seconds, seconds_left)

    def ended(self, name: str, *, seconds: float | None) -> None:
        """The job is done, after `seconds`; None: it was done before, or will not be."""
        job = self._jobs.pop(name, None)
        if self._now is not None and self._now[0] == name:
            self._now = None
        if job is not None and seconds is not None:
            self._seconds[job.kind] += seconds
            self._work[job.kind] += job.work

    def given_up(self, arm: str) -> None:
        """The arm failed: nothing more is done for it."""
        for name in [name for name, job in self._jobs.items() if job.arm == arm]:
            self.ended(name, seconds=None)

    def only(self, name: str) -> bool:
        """Whether nothing is to come but this job."""
        return set(self._jobs) <= {name}

    def _rate(self, kind: Kind) -> float | None:
        """Seconds a unit of work of a kind; of a kind that was not timed yet, that of the other."""
        for wanted in (kind, *(k for k in self._seconds if k != kind)):
            seconds, work = self._seconds[wanted], self._work[wanted]
            if self._now is not None and self._now[2] is not None and self._jobs[self._now[0]].kind == wanted:
                seconds, work = seconds + self._now[1] + self._now[2], work + self._jobs[self._now[0]].work
            if work > 0 and seconds > 0:
                return seconds / work
        return None

    def seconds_left(self) -> float | None:
        """What all jobs together still take; None before anything could be timed."""
        total = 0.0
        for job in self._jobs.values():
            if self._now is not None and self._now[0] == job.name and self._now[2] is not None:
                total += self._now[2]
                continue
            rate = self._rate(job.kind)
            if rate is None:
                return None
            begun = self._now[1] if self._now is not None and self._now[0] == job.name else 0.0
            total += max(0.0, job.work * rate - begun)
        return total
