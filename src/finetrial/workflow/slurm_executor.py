"""Run the arms' steps as jobs of a Slurm cluster whose machines share the trial's folder: finetrial[slurm]."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from finetrial.errors import FinetrialError, MissingPackage, UserError
from finetrial.workflow.context import TrialContext
from finetrial.workflow.executors import Ended, Executor
from finetrial.workflow.remote_log import LogWatch
from finetrial.workflow.remote_step import Order, error_from, needs_of, order_of, run_order
from finetrial.workflow.step import Step

_TRIES = 4  # of a step that was lost with its job. Assumption
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 30.0  # for a job that is stopped to write its checkpoint. Assumption
_ARRAY = 1000  # jobs handed over at once; Slurm's MaxArraySize is 1001 unless a site sets it
_MINUTES = 24 * 60  # of a job, unless `time=` says otherwise. Assumption
_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class There:
    """What a job runs. Preempted or out of time it is handed in again, and goes on from its last checkpoint."""

    def __call__(self, order: Order) -> dict[str, Any] | None:
        """Run the step of the order."""
        return run_order(order, place=os.environ.get("SLURM_JOB_ID") or f"process {os.getpid()}")

    def checkpoint(self, order: Order) -> Any:
        """What submitit hands in again when Slurm takes the job away."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, order)


@dataclass(slots=True)
class _Job:
    """A step that is handed over or waits to be."""

    step: Step
    order: Order
    needs: tuple[tuple[str, float], ...]
    tries: int = 0
    job: Any = None  # submitit's


@dataclass(slots=True)
class _SlurmSession(AbstractContextManager["_SlurmSession"]):
    """Steps at work as jobs."""

    context: TrialContext
    executor: Any  # submitit's
    most_at_once: int
    watch: LogWatch
    _jobs: dict[str, _Job] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return len(self._jobs) < self.most_at_once

    def begin(self, step: Step, *, inputs: dict[str, str], left: int) -> None:
        order = order_of(step, context=self.context, inputs=inputs)
        self._jobs[step.name] = _Job(step, order, tuple(sorted(needs_of(self.context, step).items())))
        self.watch.left = left
        self.watch.follow(step.name, path=self.context.folder.log(step.name), subject=step.subject)

    def wait(self) -> Sequence[Ended]:
        while True:
            self._hand_over()
            done = [ended for job in list(self._jobs.values()) if (ended := self._ended(job)) is not None]
            self.watch.look()
            for ended in done:
                del self._jobs[ended.step.name]
                self.watch.forget(ended.step.name)
            if done:
                return done
            time.sleep(_LOOK_SECONDS)

    def _hand_over(self) -> None:
        """Hand in what waits: one array for all steps with the same needs."""
        waiting = [job for job in self._jobs.values() if job.job is None]
        for needs in dict.fromkeys(job.needs for job in waiting):
            group = [job for job in waiting if job.needs == needs]
            self.executor.update_parameters(**_parameters(dict(needs)))
            with self.executor.batch():
                handed = [self.executor.submit(There(), job.order) for job in group]
            for job, submitted in zip(group, handed, strict=True):
                job.job, job.tries = submitted, job.tries + 1

    def _ended(self, job: _Job) -> Ended | None:
        """How the job ended; None while it has not, and where it is tried again."""
        if not job.job.done():
            return None
        from submitit.core.utils import UncompletedJobError

        try:
            found = job.job.result()
        except UncompletedJobError as lost:
            if job.tries < _TRIES:
                job.job = None
                return None
            return Ended(job.step, self._lost(job, lost))
        return Ended(job.step, None if found is None else error_from(found))

    def _lost(self, job: _Job, lost: Exception) -> FinetrialError:
        lines = [line.strip() for line in str(lost).splitlines() if line.strip()]
        return UserError(
            f"{job.step.name} was begun {job.tries} times and came to no end",
            got=lines[-1] if lines else type(lost).__name__,
            fix=f"What it said is in {self.context.folder.log(job.step.name)}; run again, it goes on from there.",
        )

    def __exit__(self, *_: object) -> None:
        """Stop what still runs: it writes its checkpoint, as at Ctrl-C."""
        left = [job.job for job in self._jobs.values() if job.job is not None and not job.job.done()]
        for job in left:
            job.cancel(check=False)
        until = time.monotonic() + _STOP_SECONDS
        while any(not job.done() for job in left) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        self.context.listener.end()


def _parameters(needs: dict[str, float]) -> dict[str, Any]:
    """What a step needs, as submitit names it."""
    found: dict[str, Any] = {}
    if "memory" in needs:
        found["mem_gb"] = math.ceil(needs["memory"] / 2**30)
    if "num_gpus" in needs:
        found["gpus_per_node"] = 1  # Slurm hands out whole cards
    return found


def _settings(address: str) -> dict[str, Any]:
    """`partition=gpu,cpus_per_task=8` as submitit takes it."""
    parts = dict(part.partition("=")[::2] for part in address.split(",") if part)
    return {f"slurm_{key.strip()}": int(value) if value.isdigit() else value for key, value in parts.items()}


@dataclass(frozen=True, slots=True)
class SlurmExecutor:
    """A Slurm cluster, with settings such as partition=gpu,time=600; or processes of this machine (`local`)."""

    address: str = ""
    name: str = "slurm"

    def at(self, address: str) -> Executor:
        """With these settings of Slurm's; `local` runs the jobs here, without Slurm."""
        return replace(self, address=address)

    def open(self, context: TrialContext) -> _SlurmSession:
        """Make ready to hand in jobs. Raises MissingPackage without submitit, and UserError without Slurm."""
        try:
            import submitit
        except ModuleNotFoundError:
            raise MissingPackage("submitit", extra="slurm", purpose="running on Slurm") from None
        is_local = self.address == _LOCAL
        folder = context.folder.logs / "jobs"
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster="local" if is_local else "slurm")
            executor.update_parameters(name=context.trial.trial, timeout_min=_MINUTES)
            if not is_local:
                executor.update_parameters(**_settings(self.address))
        except (RuntimeError, NameError, TypeError) as error:
            raise UserError(
                f"--on slurm{'://' if self.address else ''}{self.address} cannot be had",
                got=str(error).splitlines()[0],
                expected="a machine with sbatch, and settings such as partition=gpu,time=600",
                fix="Start it where Slurm's commands are; --on slurm://local runs the same jobs without Slurm.",
            ) from None
        most = (os.cpu_count() or 1) if is_local else _ARRAY
        return _SlurmSession(context, executor, most, LogWatch(context.listener))


SLURM = SlurmExecutor()
