"""The training loop: full tuning, LoRA and pretraining, interrupted and resumed at any step.

A step takes an effective batch, runs it in micro-batches of packed rows, and normalises the loss by the trained
tokens of the whole batch, so that micro-batches change rounding and nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch

from finetrial.models.device import DTYPES, choose_precision, pick_device
from finetrial.models.library_calls import quiet
from finetrial.models.out_of_memory import memory_errors, raises_when_full
from finetrial.store.records import Measured
from finetrial.training.accumulate import Accumulation
from finetrial.training.arm_run import ArmRun, Diverged, OnPoint, Taken
from finetrial.training.arm_setup import Make, prepare, shards
from finetrial.training.journal import reads_late
from finetrial.training.meter import Meter
from finetrial.training.process import Interrupts, kept_heap
from finetrial.training.ranks import ALONE, Ranks, follow, in_step, ranks_now
from finetrial.training.saves import read_saved
from finetrial.training.step_plan import check_examples
from finetrial.training.task import Progress, TuneTask, task_fingerprint

OnProgress = Callable[[Progress], None]
OnResume = Callable[[int, int], None]  # the steps that are done, and all of them


def tune(task: TuneTask, *, on_progress: OnProgress | None = None) -> Measured:
    """Tune an arm and write it to the task's folder, with metrics.jsonl and measured.json.

    A checkpoint of the same task is continued. Ctrl-C leaves one and raises KeyboardInterrupt. Raises Diverged
    where the loss is not a number or diverges, UserError where even one example at a time does not fit into memory.
    """
    return tune_with(task, prepare, on_progress=on_progress)


def tune_with(
    task: TuneTask,
    make: Make,
    *,
    on_progress: OnProgress | None = None,
    on_point: OnPoint | None = None,
    on_resume: OnResume | None = None,
) -> Measured:
    """The same for a model that `make` brings: pretraining makes one with random weights, arms share a base.

    `on_point` hears every row of metrics.jsonl when it is written; `on_resume` from which step a run goes on.
    """
    ranks = ranks_now()
    if ranks.is_first:
        ranks.send(task)
    with in_step(ranks, alike=Diverged):
        return _tune(task, make, ranks, on_progress=on_progress, on_point=on_point, on_resume=on_resume)


def follow_tuning(ranks: Ranks, make: Make) -> None:
    """Tune what the first process tunes, until it has nothing more."""
    follow(ranks, lambda task: tune_with(task, make), alike=Diverged)


def _tune(
    task: TuneTask,
    make: Make,
    ranks: Ranks,
    *,
    on_progress: OnProgress | None,
    on_point: OnPoint | None,
    on_resume: OnResume | None,
) -> Measured:
    device = pick_device(task.device)
    check_examples(task)
    fingerprint, root = task_fingerprint(task), task.folder / "checkpoint"
    saved = read_saved(root, fingerprint=fingerprint, ranks=ranks, shared=shards(task, ranks))
    values = saved.values if saved else {}
    # the probe's answer may change from run to run; a run that is continued keeps its own
    dtype = DTYPES[values["precision"]] if saved else choose_precision(task.precision, device=device)
    dtype = ranks.send(dtype)
    meter = Meter(device, seconds_before=values.get("seconds", 0.0), peak_before=values.get("peak_bytes") or 0)
    torch.manual_seed(task.seed)

    def whole() -> Measured:  # what it holds is gone when the heap is handed back
        setup = make(task, dtype=dtype, device=device)
        heard = on_point or (lambda _: None)
        run = ArmRun(task, setup, meter, fingerprint=fingerprint, saved=saved, on_point=heard, ranks=ranks)
        if saved is not None and on_resume is not None:
            on_resume(run.step, run.steps)
        with quiet(), Interrupts() as interrupts:  # transformers warns of padding; there is none
            take_steps(run, interrupts, on_progress=on_progress or (lambda _: None), ranks=ranks)
        run.take_best()
        return run.finish()

    with kept_heap(), memory_errors():
        return whole()


def take_steps(run: ArmRun, interrupts: Interrupts, *, on_progress: OnProgress, ranks: Ranks = ALONE) -> None:
    """Take steps until the last or an early stop. Interrupted, leave a checkpoint and raise KeyboardInterrupt."""
    accumulation = Accumulation(
        run.setup, run.state, train=run.task.train, batches=run.batches, ranks=ranks, seed=run.task.seed
    )
    run.begin()
    if run.is_fresh and raises_when_full(run.setup.device):
        accumulation.try_longest(interrupts)
    run.start_clock()
    pending: deque[Taken] = deque()  # handed to the device, not read yet: one at most after each turn
    while not run.is_done:
        step = run.step + len(pending)
        loss = accumulation.gradients(step, interrupts)
        if loss is not None:
            pending.append(run.take(step, loss))
        due = run.checkpoint_due()
        done = interrupts.asked or loss is None or due or not may_run_on(run, step + 1)
        while len(pending) > (0 if done else 1):
            on_progress(run.settle(pending.popleft()))
        if interrupts.asked and (ranks.is_alone or loss is None):  # all stop at the same step
            run.save()
            raise KeyboardInterrupt
        if not pending and due:
            run.save()


def may_run_on(run: ArmRun, step: int) -> bool:
    """Whether `step` may begin before the numbers of the one before it are read."""
    late = reads_late(run.setup.device, loss_scale=run.state.loss_scale)
    return late and step < run.steps and not run.has_point(step)
