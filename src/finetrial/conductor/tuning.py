"""Which arms must be tuned, with what, and what does the watcher hear?"""

from __future__ import annotations

from typing import Any

from finetrial.conductor.context import TrialContext
from finetrial.engine.task import LoraSetting, Progress, TuneTask
from finetrial.engine.tune import tune
from finetrial.trial.schema import Arm, Method
from finetrial.units import format_seconds

# Of the trial file's training settings, those that change no weight.
_NO_WEIGHT = {"checkpoint_seconds", "trackers"}


def tune_inputs(context: TrialContext, arm: str) -> dict[str, Any]:
    """Everything that decides what the arm becomes, by the name a user knows it by."""
    trial = context.trial
    training = trial.training.model_dump(exclude=_NO_WEIGHT) | {"epochs": trial.epochs_of(arm)}
    settings = trial.arms[arm].model_dump(exclude={"template", "epochs"})
    data = trial.data.model_dump(include={"max_tokens", "overlong", "special_tokens", "assistant_loss"})
    return {
        "the model": context.model_hash,
        "the data": context.splits.content_hash,
        "the template": trial.template_of(arm),
        **{f"training.{key}": value for key, value in training.items()},
        **{f"arms.{arm}.{key}": value for key, value in settings.items()},
        **{f"data.{key}": value for key, value in data.items()},
    }


def _lora(arm: Arm) -> LoraSetting | None:
    if arm.kind is not Method.LORA:
        return None
    return LoraSetting(
        rank=arm.rank,
        targets=arm.targets,
        alpha=arm.scaling_alpha,
        dropout=arm.dropout,
        dora=arm.dora,
        rank_stabilised=arm.rank_stabilised,
    )


def _task(context: TrialContext, arm: str) -> TuneTask:
    trial, chosen = context.trial, context.trial.arms[arm]
    training, splits = trial.training, context.splits
    return TuneTask(
        model=context.model,
        trust_remote_code=trial.trust_remote_code,
        folder=context.folder.arm(arm),
        lora=_lora(chosen),
        special_tokens=trial.data.special_tokens,
        train=context.encoded(arm, splits.train).examples,
        validation=context.encoded(arm, splits.validation).examples,
        epochs=trial.epochs_of(arm),
        batch_tokens=training.batch_tokens,
        schedule=training.schedule,
        warmup=training.warmup,
        learning_rate=chosen.learning_rate if chosen.learning_rate is not None else training.learning_rate,
        weight_decay=training.weight_decay,
        clip=training.clip,
        optimizer=training.optimizer,
        precision=chosen.precision or training.precision,
        checkpointing=training.checkpointing,
        early_stopping=training.early_stopping,
        evaluations=training.evaluations,
        checkpoint_seconds=training.checkpoint_seconds,
        seed=training.seed,
    )


class _Watch:
    """Turns the engine's progress into the watcher's lines and bars."""

    def __init__(self, context: TrialContext, arm: str) -> None:
        self._listener, self._arm, self._announced = context.listener, arm, False

    def __call__(self, progress: Progress) -> None:
        if progress.seconds_left is not None and not self._announced:
            self._announced = True
            whole = format_seconds(progress.seconds + progress.seconds_left)
            self._listener.line(f"{self._arm}: {progress.steps:,} steps, about {whole}")
        self._listener.step(
            f"tune {self._arm}",
            done=progress.step,
            total=progress.steps,
            detail="" if progress.loss is None else f"loss {progress.loss:.3f}",
            seconds_left=progress.seconds_left,
        )


def tune_arm(context: TrialContext, arm: str) -> None:
    """Tune one arm, or say that it is tuned already. Started again after a stop, it continues."""
    inputs = tune_inputs(context, arm)
    state = context.manifest.state(f"tune:{arm}", inputs=inputs)
    if state.current:
        context.listener.line(f"{arm}: tuned already")
        return
    if state.reason != "not done yet":
        context.listener.line(f"{arm}: tuning again, {state.reason}")
    measured = tune(_task(context, arm), on_progress=_Watch(context, arm))
    context.listener.end()
    context.listener.line(f"{arm}: tuned in {format_seconds(measured.tune_seconds)}")
    weights = sorted(context.folder.arm(arm).glob("*.safetensors"))
    context.manifest.finish(f"tune:{arm}", inputs=inputs, outputs=weights)
