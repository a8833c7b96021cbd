"""The training loop: full tuning, LoRA and pretraining, interrupted and resumed at any step.

A step takes an effective batch, runs it in micro-batches of packed rows, and normalises the loss by the trained
tokens of the whole batch, so that micro-batches change rounding and nothing else.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from finetrial.errors import UserError
from finetrial.models.batches import trained_tokens
from finetrial.models.device import DTYPES, choose_precision, dtype_name, pick_device
from finetrial.models.evaluate import default_micro_tokens
from finetrial.models.library_calls import quiet
from finetrial.models.out_of_memory import memory_errors, raises_when_full
from finetrial.models.special_tokens import embedding_weight
from finetrial.store.records import Measured, TrainingPoint, write_object
from finetrial.training.accumulate import Accumulation
from finetrial.training.arm_setup import Make, TrainingSetup, prepare, set_mode, shards
from finetrial.training.checkpoint import (
    Checkpoint,
    TuneState,
    drop_other_bests,
    random_state,
    remove_checkpoint,
    set_random_state,
)
from finetrial.training.journal import Journal, Reading, reads_late
from finetrial.training.measured_run import measured_run
from finetrial.training.meter import Meter
from finetrial.training.optimizer import first_loss_scale, grown_loss_scale, schedule_factor
from finetrial.training.pace import Pace
from finetrial.training.process import Interrupts, kept_heap
from finetrial.training.ranks import Ranks, follow, in_step, ranks_now
from finetrial.training.saves import read_saved, saves_of
from finetrial.training.step_plan import batches_of, check_examples, evaluation_plan, run_work
from finetrial.training.task import Progress, TuneTask, task_fingerprint
from finetrial.training.validation import Validation

OnProgress = Callable[[Progress], None]
OnPoint = Callable[[TrainingPoint], None]
OnResume = Callable[[int, int], None]  # the steps that are done, and all of them


class Diverged(UserError):
    """The loss is no number any more, or has left every sensible range: this learning rate does not work here."""


_POINTS = 500  # rows of metrics.jsonl, about
_DIVERGED_NATS = 1.0  # worse than guessing uniformly by this much, and than the start. Assumption
_RECENT = 10  # steps over which divergence is judged


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
        run = _Run(task, setup, meter, ranks, fingerprint=fingerprint, saved=saved, on_point=heard)
        if saved is not None and on_resume is not None:
            on_resume(run.step, run.steps)
        with quiet(), Interrupts() as interrupts:  # transformers warns of padding; there is none
            run.steps_until_done(interrupts, on_progress or (lambda _: None))
        return run.finish()

    with kept_heap(), memory_errors():
        return whole()


@dataclass(frozen=True, slots=True)
class _Taken:
    """A step that was handed to the device: its loss times the loss scale, and the gradient norm."""

    step: int
    reading: Reading


class _Run:
    """One arm's tuning, from its start or from a checkpoint."""

    def __init__(
        self,
        task: TuneTask,
        setup: TrainingSetup,
        meter: Meter,
        ranks: Ranks,
        *,
        fingerprint: str,
        saved: Checkpoint | None,
        on_point: OnPoint,
    ) -> None:
        self._task, self._setup, self._meter, self._fingerprint = task, setup, meter, fingerprint
        self._on_point, self._ranks = on_point, ranks
        self._checkpoints = task.folder / "checkpoint"
        self._saves = saves_of(setup.optimizer, root=self._checkpoints, ranks=ranks)
        self._lengths = [len(example.token_ids) for example in task.train]
        self._batches = batches_of(task)
        self._point_every = max(1, len(self._batches) // _POINTS)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._state = TuneState(
            micro_tokens=task.micro_tokens or default_micro_tokens(setup.device),
            loss_scale=first_loss_scale(setup.dtype),
        )
        self._last_saved = meter.seconds_now
        torch.manual_seed(task.seed)
        self._fresh = saved is None
        if saved is not None:
            self._restore(saved)
        self._accumulation = Accumulation(
            setup, self._state, train=task.train, batches=self._batches, ranks=ranks, seed=task.seed
        )
        plan = evaluation_plan(task, batches=self._batches, lengths=self._lengths)
        halved = self._accumulation.take_less
        self._validation = Validation(
            task, setup, self._state, plan=plan, meter=meter, on_halved=halved, ranks=ranks
        )
        self._point_at = {0, len(self._batches)} | plan.steps
        width = embedding_weight(setup.loss_model.base).shape[1]
        work = run_work(task, batches=self._batches, lengths=self._lengths, plan=plan, width=width)
        self._pace = Pace(work, checkpoint_seconds=task.checkpoint_seconds)
        self._journal = None
        if ranks.is_first:
            until = self._state.step if saved else None
            self._journal = Journal(task.folder / "metrics.jsonl", until_step=until)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self._state.step

    @property
    def steps(self) -> int:
        return len(self._batches)

    # -- checkpoints

    def _restore(self, saved: Checkpoint) -> None:
        self._state = TuneState(**saved.values["state"])
        self._recent.extend(saved.values["recent"])
        self._saves.restore(saved)
        set_random_state(saved.tensors["random"], device=self._setup.device)

    def _save(self) -> None:
        values = {
            "fingerprint": self._fingerprint,
            "step": self._state.step,
            "state": asdict(self._state),
            "recent": list(self._recent),
            "precision": dtype_name(self._setup.dtype),
            "seconds": self._meter.seconds,
            "peak_bytes": self._meter.peak_bytes,
        }
        began = self._meter.seconds_now
        self._saves.write(values, random=random_state(device=self._setup.device))
        if self._ranks.is_first:
            drop_other_bests(self._checkpoints, step=self._state.best_step)
        self._last_saved = self._meter.seconds_now
        self._pace.saved(seconds=self._last_saved - began)

    # -- one step

    def _rate(self, step: int) -> float:
        share = schedule_factor(
            step, steps=len(self._batches), warmup=self._task.warmup, schedule=self._task.schedule
        )
        return self._setup.learning_rate * share

    def _diverged(self, *, step: int, loss: float, norm: float | None) -> Diverged:
        finite = math.isfinite(loss) and (norm is None or math.isfinite(norm))
        return Diverged(
            f"the loss {'diverged' if finite else 'is not a number'} at step {step + 1} of {len(self._batches)}",
            got=f"loss {loss:.4g} with learning rate {self._rate(step):.3g}",
            fix=f"Try learning_rate: {self._setup.learning_rate / 5:.2g}, a longer warmup, or precision: float32.",
        )

    def _take_step(self, step: int, interrupts: Interrupts) -> _Taken | None:
        """Hand one optimizer step to the device; None when interrupted before it."""
        loss = self._accumulation.gradients(step, interrupts)
        if loss is None:
            return None
        norm = self._setup.optimizer.step(
            learning_rate=self._rate(step), clip=self._task.clip, loss_scale=self._state.loss_scale
        )
        return _Taken(step, Reading(loss, norm))

    def _settle(self, taken: _Taken, *, ceiling: float) -> float | None:
        """Read a step's numbers and count it; None for a step that overflowed and must be taken again."""
        step, state = taken.step, self._state
        scaled, norm = taken.reading.values()
        loss = scaled / state.loss_scale
        if not math.isfinite(loss):
            raise self._diverged(step=step, loss=loss, norm=None)
        if not math.isfinite(norm) and state.loss_scale > 1.0:  # float16 overflowed: the same batch, scaled less
            self._setup.optimizer.forget()
            state.loss_scale, state.scale_steps = state.loss_scale / 2, 0
            return None
        if not math.isfinite(norm):
            raise self._diverged(step=step, loss=loss, norm=norm)
        state.loss_scale, state.scale_steps = grown_loss_scale(state.loss_scale, steps=state.scale_steps + 1)
        self._recent.append(loss)
        state.first_loss = loss if state.first_loss is None else state.first_loss
        recent = sum(self._recent) / len(self._recent)
        if len(self._recent) == _RECENT and recent > max(state.first_loss, ceiling) + _DIVERGED_NATS:
            raise self._diverged(step=step, loss=recent, norm=norm)
        state.step += 1
        state.tokens += sum(self._lengths[i] for i in self._batches[step])
        state.trained += sum(trained_tokens(self._task.train[i]) for i in self._batches[step])
        state.loss_sum += loss
        state.loss_steps += 1
        if state.step % self._point_every == 0 or state.step in self._point_at:
            self._point(norm=norm)
        return loss

    def _point(self, *, norm: float | None) -> None:
        """Log a point, with the validation loss where one is due."""
        state = self._state
        if self._validation.due(state.step):
            self._evaluate()
            validation = state.validation_loss
        else:
            validation = None
        done = 0 if state.step == 0 else state.step - 1
        point = TrainingPoint(
            step=state.step,
            epoch=self._task.epochs * state.step / len(self._batches),
            tokens=state.tokens,
            trained_tokens=state.trained,
            learning_rate=None if state.step == 0 else self._rate(done),
            train_loss=state.loss_sum / state.loss_steps if state.loss_steps else None,
            validation_loss=validation,
            gradient_norm=norm,
            seconds=self._meter.seconds,
        )
        if self._journal is not None:
            self._journal.add(point)
            self._on_point(point)
        state.loss_sum, state.loss_steps = 0.0, 0

    def _evaluate(self) -> None:
        state, patience = self._state, self._task.early_stopping
        began = self._meter.seconds_now
        found = self._validation.on_curve()
        self._check_finite(found)
        state.evaluations += 1
        state.validation_loss = found
        if patience is not None and found is not None:
            self._keep_best(found, patience=patience)
        self._pace.evaluated(state.step, seconds=self._meter.seconds_now - began)

    def _keep_best(self, loss: float, *, patience: int) -> None:
        state = self._state
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_step, state.stale = loss, state.step, 0
            self._saves.write_best(state.step)
        else:
            state.stale += 1
            state.stopped = state.stale >= patience

    def _check_finite(self, loss: float | None) -> None:
        if loss is not None and not math.isfinite(loss):
            raise self._diverged(step=max(0, self._state.step - 1), loss=loss, norm=None)

    # -- the run

    def steps_until_done(self, interrupts: Interrupts, on_progress: OnProgress) -> None:
        """Take steps until the last or an early stop. Interrupted, leave a checkpoint and raise."""
        task, state = self._task, self._state
        ceiling = math.log(embedding_weight(self._setup.loss_model.base).shape[0])
        set_mode(self._setup.model, training=True, model_dropout=task.model_dropout)
        if self._fresh:
            self._point(norm=None)
            if raises_when_full(self._setup.device):
                self._accumulation.try_longest(interrupts)
        self._pace.start(now=self._meter.seconds_now)
        pending: deque[_Taken] = deque()  # handed to the device, not read yet: one at most after each turn
        while state.step < len(self._batches) and not state.stopped:
            taken = self._take_step(state.step + len(pending), interrupts)
            if taken is not None:
                pending.append(taken)
            due = self._checkpoint_due()
            done = interrupts.asked or taken is None or due or not self._may_run_on(taken.step + 1)
            while len(pending) > (0 if done else 1):
                settled = pending.popleft()
                loss = self._settle(settled, ceiling=ceiling)
                self._pace.stepped(settled.step, now=self._meter.seconds_now)
                on_progress(self._progress(loss))
            if interrupts.asked and (self._ranks.is_alone or taken is None):  # all stop at the same step
                self._save()
                raise KeyboardInterrupt
            if not pending and due:
                self._save()

    def _checkpoint_due(self) -> bool:
        """By the clock of this process; where each writes its share, by the first one's."""
        due = self._meter.seconds_now - self._last_saved >= self._task.checkpoint_seconds
        return due if self._setup.sharded is None else self._ranks.send(due)

    def _may_run_on(self, step: int) -> bool:
        """Whether `step` may begin before the numbers of the one before it are read."""
        late = reads_late(self._setup.device, loss_scale=self._state.loss_scale)
        return late and step < len(self._batches) and step not in self._point_at

    def _progress(self, loss: float | None) -> Progress:
        state, steps = self._state, len(self._batches)
        left = self._pace.seconds_left(state.step, since_saved=self._meter.seconds_now - self._last_saved)
        return Progress(state.step, steps, state.tokens, loss, self._meter.seconds, left, state.micro_tokens)

    def finish(self) -> Measured:
        """Write the arm, its measurements, and remove the checkpoint."""
        task, state, setup = self._task, self._state, self._setup
        curve_loss = state.validation_loss
        if state.best_step is not None and state.best_step != state.step:
            self._saves.restore_best(state.best_step)
            curve_loss = state.best_loss
        with quiet():
            validation = self._validation.on_all(curve_loss=curve_loss)
        self._check_finite(validation)
        set_mode(setup.model, training=False, model_dropout=False)
        if setup.sharded is not None and task.keeps_weights:
            setup.sharded.make_whole(keep=self._ranks.is_first)
        if task.keeps_weights and self._ranks.is_first:
            setup.save(task)
        measured = measured_run(
            task,
            setup,
            state,
            self._meter,
            batches=self._batches[: state.step],
            validation_loss=validation,
            rows=(self._validation.curve_rows, self._validation.all_rows),
            processes=self._ranks.count,
        )
        if self._ranks.is_first:
            write_object(task.folder / "measured.json", measured)
            remove_checkpoint(self._checkpoints)
        return measured
