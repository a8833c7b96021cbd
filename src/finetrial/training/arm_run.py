"""One arm's tuning: its state, steps, points, checkpoints and end, whoever makes its gradients."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from finetrial.errors import UserError
from finetrial.models.batches import trained_tokens
from finetrial.models.device import dtype_name
from finetrial.models.evaluate import default_micro_tokens
from finetrial.models.library_calls import quiet
from finetrial.models.special_tokens import embedding_weight
from finetrial.store.records import Measured, TrainingPoint, write_object
from finetrial.training.accumulate import let_go
from finetrial.training.arm_setup import TrainingSetup, set_mode
from finetrial.training.checkpoint import (
    Checkpoint,
    TuneState,
    drop_other_bests,
    random_state,
    remove_checkpoint,
    set_random_state,
)
from finetrial.training.journal import Journal, Reading
from finetrial.training.measured_run import measured_run
from finetrial.training.meter import Meter
from finetrial.training.optimizer import first_loss_scale, grown_loss_scale, schedule_factor
from finetrial.training.pace import Pace
from finetrial.training.ranks import ALONE, Ranks
from finetrial.training.saves import saves_of
from finetrial.training.step_plan import batches_of, evaluation_plan, run_work
from finetrial.training.task import Progress, TuneTask
from finetrial.training.validation import Measure, Validation

OnPoint = Callable[[TrainingPoint], None]


class Diverged(UserError):
    """The loss is no number any more, or has left every sensible range: this learning rate does not work here."""


_POINTS = 500  # rows of metrics.jsonl, about
_DIVERGED_NATS = 1.0  # worse than guessing uniformly by this much, and than the start. Assumption
_RECENT = 10  # steps over which divergence is judged


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was handed to the device: its loss times the loss scale, and the gradient norm."""

    step: int
    reading: Reading


class ArmRun:
    """One arm's tuning, from its start or from a checkpoint."""

    def __init__(
        self,
        task: TuneTask,
        setup: TrainingSetup,
        meter: Meter,
        *,
        fingerprint: str,
        saved: Checkpoint | None,
        on_point: OnPoint,
        ranks: Ranks = ALONE,
        measure: Measure | None = None,
    ) -> None:
        """`measure` takes the arm's losses on validation rows; None: the run does so by itself."""
        self.task, self.setup, self._meter, self._fingerprint = task, setup, meter, fingerprint
        self._on_point, self._ranks = on_point, ranks
        self._checkpoints = task.folder / "checkpoint"
        self._saves = saves_of(setup.optimizer, root=self._checkpoints, ranks=ranks)
        self.lengths = [len(example.token_ids) for example in task.train]
        self.batches = batches_of(task)
        self._point_every = max(1, len(self.batches) // _POINTS)
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self.state = TuneState(
            micro_tokens=task.micro_tokens or default_micro_tokens(setup.device),
            loss_scale=first_loss_scale(setup.dtype),
        )
        self._last_saved = meter.seconds_now
        torch.manual_seed(task.seed)
        self.is_fresh = saved is None
        if saved is not None:
            self._restore(saved)
        plan = evaluation_plan(task, batches=self.batches, lengths=self.lengths)
        self._validation = Validation(
            task, setup, self.state, plan=plan, meter=meter, on_halved=self._halved, ranks=ranks, measure=measure
        )
        self._point_at = {0, len(self.batches)} | plan.steps
        vocabulary, width = embedding_weight(setup.loss_model.base).shape
        self._ceiling = math.log(vocabulary)
        work = run_work(task, batches=self.batches, lengths=self.lengths, plan=plan, width=width)
        self._pace = Pace(work, checkpoint_seconds=task.checkpoint_seconds)
        self._journal = None
        if ranks.is_first:
            until = self.state.step if saved else None
            self._journal = Journal(task.folder / "metrics.jsonl", until_step=until)

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.state.step

    @property
    def steps(self) -> int:
        return len(self.batches)

    @property
    def is_done(self) -> bool:
        """Whether the last step is taken, or an early stop is reached."""
        return self.state.stopped or self.step >= self.steps

    def _halved(self, micro_tokens: int) -> None:
        let_go(self.setup.device)
        self.state.micro_tokens = micro_tokens

    # -- checkpoints

    def _restore(self, saved: Checkpoint) -> None:
        self.state = TuneState(**saved.values["state"])
        self._recent.extend(saved.values["recent"])
        self._saves.restore(saved)
        set_random_state(saved.tensors["random"], device=self.setup.device)

    def save(self) -> None:
        """Write a checkpoint."""
        values = {
            "fingerprint": self._fingerprint,
            "step": self.state.step,
            "state": asdict(self.state),
            "recent": list(self._recent),
            "precision": dtype_name(self.setup.dtype),
            "seconds": self._meter.seconds,
            "peak_bytes": self._meter.peak_bytes,
        }
        began = self._meter.seconds
        self._saves.write(values, random=random_state(device=self.setup.device))
        if self._ranks.is_first:
            drop_other_bests(self._checkpoints, step=self.state.best_step)
        self._last_saved = self._meter.seconds_now
        self._pace.saved(seconds=self._meter.seconds - began)

    def checkpoint_due(self) -> bool:
        """By the clock of this process; where each writes its share, by the first one's."""
        due = self._meter.seconds_now - self._last_saved >= self.task.checkpoint_seconds
        return due if self.setup.sharded is None else bool(self._ranks.send(due))

    # -- one step

    def _rate(self, step: int) -> float:
        share = schedule_factor(step, steps=len(self.batches), warmup=self.task.warmup, schedule=self.task.schedule)
        return self.setup.learning_rate * share

    def _diverged(self, *, step: int, loss: float, norm: float | None) -> Diverged:
        finite = math.isfinite(loss) and (norm is None or math.isfinite(norm))
        return Diverged(
            f"the loss {'diverged' if finite else 'is not a number'} at step {step + 1} of {len(self.batches)}",
            got=f"loss {loss:.4g} with learning rate {self._rate(step):.3g}",
            fix=f"Try learning_rate: {self.setup.learning_rate / 5:.2g}, a longer warmup, or precision: float32.",
        )

    def begin(self) -> None:
        """Make the model ready for steps; a run that is new has its first point."""
        set_mode(self.setup.model, training=True, model_dropout=self.task.model_dropout)
        if self.is_fresh:
            self._point(norm=None)

    def start_clock(self) -> None:
        """The first step begins."""
        self._pace.start(now=self._meter.seconds)

    def take(self, step: int, loss: torch.Tensor) -> Taken:
        """Hand the optimizer's step to the device, whose gradients are made; `loss` is times the loss scale."""
        norm = self.setup.optimizer.step(
            learning_rate=self._rate(step), clip=self.task.clip, loss_scale=self.state.loss_scale
        )
        return Taken(step, Reading(loss, norm))

    def settle(self, taken: Taken) -> Progress:
        """Read a step's numbers and count it, unless it overflowed and must be taken again."""
        loss = self._settle(taken)
        self._pace.stepped(taken.step, now=self._meter.seconds)
        left = self._pace.seconds_left(self.step, since_saved=self._meter.seconds_now - self._last_saved)
        tokens, micro = self.state.tokens, self.state.micro_tokens
        return Progress(self.step, self.steps, tokens, loss, self._meter.seconds, left, micro)

    def _settle(self, taken: Taken) -> float | None:
        step, state = taken.step, self.state
        scaled, norm = taken.reading.values()
        loss = scaled / state.loss_scale
        if not math.isfinite(loss):
            raise self._diverged(step=step, loss=loss, norm=None)
        if not math.isfinite(norm) and state.loss_scale > 1.0:  # float16 overflowed: the same batch, scaled less
            self.setup.optimizer.forget()
            state.loss_scale, state.scale_steps = state.loss_scale / 2, 0
            return None
        if not math.isfinite(norm):
            raise self._diverged(step=step, loss=loss, norm=norm)
        state.loss_scale, state.scale_steps = grown_loss_scale(state.loss_scale, steps=state.scale_steps + 1)
        self._recent.append(loss)
        state.first_loss = loss if state.first_loss is None else state.first_loss
        recent = sum(self._recent) / len(self._recent)
        if len(self._recent) == _RECENT and recent > max(state.first_loss, self._ceiling) + _DIVERGED_NATS:
            raise self._diverged(step=step, loss=recent, norm=norm)
        state.step += 1
        state.tokens += sum(self.lengths[i] for i in self.batches[step])
        state.trained += sum(trained_tokens(self.task.train[i]) for i in self.batches[step])
        state.loss_sum += loss
        state.loss_steps += 1
        if state.step % self._point_every == 0 or state.step in self._point_at:
            self._point(norm=norm)
        return loss

    def has_point(self, step: int) -> bool:
        """Whether something is measured after so many steps, for which their numbers must be there."""
        return step in self._point_at

    def _point(self, *, norm: float | None) -> None:
        """Log a point, with the validation loss where one is due."""
        state = self.state
        if self._validation.due(state.step):
            self._evaluate()
            validation = state.validation_loss
        else:
            validation = None
        done = 0 if state.step == 0 else state.step - 1
        point = TrainingPoint(
            step=state.step,
            epoch=self.task.epochs * state.step / len(self.batches),
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
        state, patience = self.state, self.task.early_stopping
        before = state.evaluation_seconds
        found = self._validation.on_curve()
        self._check_finite(found)
        state.evaluations += 1
        state.validation_loss = found
        if patience is not None and found is not None:
            self._keep_best(found, patience=patience)
        self._pace.evaluated(state.step, seconds=state.evaluation_seconds - before)

    def _keep_best(self, loss: float, *, patience: int) -> None:
        state = self.state
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.best_step, state.stale = loss, state.step, 0
            self._saves.write_best(state.step)
        else:
            state.stale += 1
            state.stopped = state.stale >= patience

    def _check_finite(self, loss: float | None) -> None:
        if loss is not None and not math.isfinite(loss):
            raise self._diverged(step=max(0, self.state.step - 1), loss=loss, norm=None)

    # -- the end

    def take_best(self) -> None:
        """Give the arm the weights of its best evaluation, where these were kept."""
        if self._has_better:
            self._saves.restore_best(self.state.best_step or 0)

    @property
    def _has_better(self) -> bool:
        return self.state.best_step is not None and self.state.best_step != self.state.step

    def finish(self) -> Measured:
        """Write the arm, with its best weights, its measurements, and remove the checkpoint."""
        task, state, setup = self.task, self.state, self.setup
        with quiet():
            known = state.best_loss if self._has_better else state.validation_loss
            validation = self._validation.on_all(curve_loss=known)
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
            batches=self.batches[: state.step],
            validation_loss=validation,
            rows=(self._validation.curve_rows, self._validation.all_rows),
            processes=self._ranks.count,
        )
        if self._ranks.is_first:
            write_object(task.folder / "measured.json", measured)
            remove_checkpoint(self._checkpoints)
        return measured
