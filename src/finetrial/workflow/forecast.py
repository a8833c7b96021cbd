"""How long a whole run will still take: what was planned, corrected by what tuning and sampling have shown.

Where the plan knows the seconds of every job these are the work, and a rate is how many times its plan a kind of
job took. Else work is counted in tokens that pass forward (`training.step_plan`): a method's steps cost two or
three passes, a generated token a few. What has not been timed yet goes at the rate of what was, so that the first
arm's pace already says what the run will come to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from finetrial.store.plan_record import Plan

Kind = Literal["search", "tune", "sample"]

# A generated token reads the weights and the cache for few rows at a time. Assumption, until an arm was sampled.
DECODING_WORK = 3.0


@dataclass(frozen=True, slots=True)
class Job:
    """One search, training run or arm's sampling that is still to be done."""

    name: str
    arm: str
    kind: Kind
    work: float


def in_planned_seconds(jobs: Sequence[Job], *, plan: Plan | None) -> tuple[Job, ...] | None:
    """The jobs with their share of the plan's seconds as their work; None where it does not know those of all."""
    planned = {(step.kind, step.arm): step.seconds for step in (() if plan is None else plan.steps)}
    work: dict[tuple[Kind, str], float] = defaultdict(float)
    for job in jobs:
        work[job.kind, job.arm] += job.work
    found = []
    for job in jobs:
        seconds, whole = planned.get((job.kind, job.arm)), work[job.kind, job.arm]
        if seconds is None or whole <= 0:
            return None
        found.append(replace(job, work=seconds * job.work / whole))
    return tuple(found)


class Forecast:
    """What is left of a run. Jobs are begun and ended by name; those it does not know change nothing."""

    def __init__(self, jobs: Sequence[Job], *, first_rate: float | None = None, after_seconds: float = 0.0) -> None:
        """`first_rate` holds until something was timed: 1 where work is planned seconds. `after_seconds` follow
        the jobs."""
        self._jobs = {job.name: job for job in jobs}
        self._first_rate, self._after_seconds = first_rate, after_seconds
        self._seconds: dict[Kind, float] = {"tune": 0.0, "search": 0.0, "sample": 0.0}  # whose rate stands in first
        self._work: dict[Kind, float] = dict.fromkeys(self._seconds, 0.0)
        self._now: dict[
            str, tuple[float, float | None]
        ] = {}  # the jobs at work: their seconds, what they have left

    def progress(self, name: str, *, seconds: float, seconds_left: float | None) -> None:
        """The job has been at work for `seconds`, and knows what it has left, or not yet."""
        if name in self._jobs:
            self._now[name] = (seconds, seconds_left)

    def ended(self, name: str, *, seconds: float | None) -> None:
        """The job is done, after `seconds`; None: it was done before, or will not be."""
        job = self._jobs.pop(name, None)
        self._now.pop(name, None)
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
        """Seconds a unit of work of a kind; of a kind that was not timed yet, that of another."""
        for wanted in (kind, *(k for k in self._seconds if k != kind)):
            seconds, work = self._seconds[wanted], self._work[wanted]
            for name, (so_far, left) in self._now.items():
                if left is not None and self._jobs[name].kind == wanted:
                    seconds, work = seconds + so_far + left, work + self._jobs[name].work
            if work > 0 and seconds > 0:
                return seconds / work
        return self._first_rate

    def seconds_left(self) -> float | None:
        """What all jobs together still take; None before anything could be timed."""
        total = self._after_seconds
        for job in self._jobs.values():
            begun, left = self._now.get(job.name, (0.0, None))
            if left is not None:
                total += left
                continue
            rate = self._rate(job.kind)
            if rate is None:
                return None
            total += max(0.0, job.work * rate - begun)
        return total
