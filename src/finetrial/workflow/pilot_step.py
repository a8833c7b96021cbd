"""Tune an arm on a part of its rows, as a step of the trial: a pilot, of which only the validation loss counts.

A pilot is the arm's own task on fewer rows: the same epochs, batches and rate, its schedule run to its end, its
rows among those of every larger pilot. Its weights are not kept; what each validation row cost it is.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.models.device import deterministic_kernels
from finetrial.store.pilots import PilotRecord, RowCost, read_pilot, write_pilot
from finetrial.store.records import Measured, read_rows
from finetrial.training.arm_run import Diverged
from finetrial.training.loop import tune_with
from finetrial.training.step_plan import processed_tokens, step_count, task_work
from finetrial.training.task import TuneTask, resumed_text
from finetrial.training.validation_plan import first_rows, token_count
from finetrial.trial.resolve import ResolvedArm
from finetrial.trial.subset import tuned_rows
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext
from finetrial.workflow.forecast import Job
from finetrial.workflow.rate_search import rate_in_use, rate_inputs, search_before
from finetrial.workflow.step import Stage, StepDefaults
from finetrial.workflow.step_progress import TuningProgress
from finetrial.workflow.tune_task import arm_task, tune_inputs

PARTS = (16, 8, 4)  # one in so many of an arm's rows, in the order in which they are made
VALIDATION_ROWS = 128  # at most; a pilot's loss must not cost more than its steps. Assumption
LEAST_STEPS = 8  # of a pilot: in fewer its loss is mostly noise (docs/decisions.md). Assumption
_RULE = 1  # goes up when the same inputs come to give another pilot
# Of what decides an arm, that which no pilot looks at, unless it may stop early as the arm may.
_NOT_PILOTED = ("training.evaluations", "training.early_stopping")


def pilot_task(task: TuneTask, *, part: int, seed: int, folder: Path) -> TuneTask:
    """The arm's task on one part in `part` of its rows. `seed` is that by which rows are chosen."""
    rows = max(1, round(len(task.train) / part))
    stops_early = task.early_stopping is not None
    return dataclasses.replace(
        task,
        train=tuned_rows(task.train, count=rows, seed=seed),
        validation=first_rows(task.validation, most=VALIDATION_ROWS),
        evaluations=task.evaluations if stops_early else 0,
        keeps_weights=False,
        keeps_row_losses=True,
        folder=folder,
    )


@dataclass(frozen=True, slots=True)
class PilotStep(StepDefaults):
    """One pilot of an arm."""

    context: TrialContext = field(repr=False)
    arm: str
    part: int  # one in so many rows
    stage: Stage = Stage.PILOT
    recorded: bool = True

    @property
    def subject(self) -> str:
        return f"{self.arm}@1in{self.part}"

    @property
    def name(self) -> str:
        return f"pilot:{self.subject}"

    @property
    def label(self) -> str:
        """What bars and lines call it."""
        return f"pilot {self.arm}, 1/{self.part} of its rows"

    @property
    def after(self) -> tuple[str, ...]:
        return search_before(self.context, self.arm)

    @property
    def jobs(self) -> tuple[str, ...]:
        return (self.label,)

    @property
    def _resolved(self) -> ResolvedArm:
        return self.context.arm(self.arm)

    @property
    def _record(self) -> Path:
        return self.context.folder.pilot(self.arm, part=self.part)

    @property
    def _work(self) -> Path:
        return self._record.with_suffix("")

    def task(self, *, learning_rate: float | None) -> TuneTask:
        """What is tuned."""
        whole = arm_task(self.context, self._resolved, learning_rate=learning_rate)
        return pilot_task(whole, part=self.part, seed=self.context.trial.data.seed, folder=self._work)

    def inputs(self) -> Mapping[str, Any]:
        inputs = tune_inputs(self.context, self._resolved)
        if self.context.trial.training.early_stopping is None:
            inputs = {key: value for key, value in inputs.items() if key not in _NOT_PILOTED}
        return inputs | rate_inputs(self.context, self.arm) | {"the pilot": [_RULE, self.part, VALIDATION_ROWS]}

    def outputs(self) -> Sequence[Path]:
        return [self._record]

    def work(self) -> list[Job]:
        """Its job in a forecast."""
        width = self.context.bases.width_of(self.arm)
        return [Job(self.label, self.arm, "tune", task_work(self.task(learning_rate=None), width=width))]

    def steps(self) -> int:
        """How many optimizer steps it takes."""
        return step_count(self.task(learning_rate=None))

    def own_files(self) -> Sequence[Path]:
        return [self._record, *(path for path in sorted(self._work.rglob("*")) if path.is_file())]

    def execute(self) -> None:
        """Tune, and write the record. Continues where it was stopped. A loss that diverges is a result."""
        context, arm = self.context, self._resolved
        rate = rate_in_use(context, arm)
        whole = arm_task(context, arm, learning_rate=rate)
        task = self.task(learning_rate=rate)
        began, stopped, measured = time.monotonic(), None, None
        try:
            with deterministic_kernels(wanted=context.deterministic):
                measured = tune_with(
                    task,
                    context.shared_base.prepare,
                    on_progress=TuningProgress(context, self.label),
                    on_resume=lambda step, steps: context.listener.line(
                        f"{self.label}: {resumed_text(step, steps=steps)}"
                    ),
                )
        except Diverged as error:
            stopped = error.what
        record = self._recorded(task, whole, measured, stopped=stopped, seconds=time.monotonic() - began)
        write_pilot(self._record, record)
        shutil.rmtree(self._work, ignore_errors=True)
        context.forecast.ended(self.label, seconds=record.seconds)
        context.listener.end()
        said = stopped or ("no loss" if record.loss is None else f"validation loss {record.loss:.4f}")
        context.listener.line(f"{self.label}: {said}, in {format_seconds(record.seconds)}")

    def _recorded(
        self, task: TuneTask, whole: TuneTask, measured: Measured | None, *, stopped: str | None, seconds: float
    ) -> PilotRecord:
        costs = () if measured is None else tuple(read_rows(task.folder / "validation.jsonl", RowCost))
        flops = None
        if measured is not None and measured.flops_total is not None:
            flops = measured.flops_total + (measured.evaluation_flops or 0.0)
        return PilotRecord(
            arm=self.arm,
            part=self.part,
            rows=len(task.train),
            full_rows=len(whole.train),
            seed=task.seed,
            learning_rate=None if measured is None else measured.learning_rate,
            steps=0 if measured is None else measured.steps,
            tokens=0 if measured is None else measured.tokens_processed,
            full_tokens=processed_tokens(whole),
            validation_tokens=token_count(task.validation) if costs else 0,
            seconds=seconds if measured is None else measured.tune_seconds,
            flops=flops,
            stopped=stopped,
            validation=costs,
        )


def pilot_of(context: TrialContext, arm: str, *, part: int) -> PilotRecord | None:
    """The record of an arm's pilot; None where there is none."""
    return read_pilot(context.folder.pilot(arm, part=part))
