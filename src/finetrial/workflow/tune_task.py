"""Describe the tuning of an arm to the training room: the task, and what decides its outcome."""

from __future__ import annotations

from typing import Any

from finetrial.store.layout import run_name
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded
from finetrial.trial.resolve import ResolvedArm
from finetrial.trial.subset import check_row_count, tuned_rows
from finetrial.workflow.context import TrialContext

# Of an arm's keys, those that change nothing of its training, or that are named apart.
_NOT_TRAINED = {"template", "prompt_file", "chat", "system", "stop", "shots", "epochs", "start_from"}
# Of the trial file's training settings, those that change no weight of a training run, or that stand elsewhere.
_NO_WEIGHT = {"checkpoint_seconds", "trackers", "seeds", "learning_rate", "checkpointing", "sharding"}


def tune_inputs(context: TrialContext, arm: ResolvedArm, *, run: int = 0) -> dict[str, Any]:
    """Everything that decides what the arm becomes, by the name a user knows it by."""
    trial = context.trial
    training = trial.training.model_dump(exclude=_NO_WEIGHT) | {"epochs": arm.epochs}
    training["seed"] += run
    training["checkpointing"] = (
        False  # changes no weight; records from when it was an input, its default, stay current
    )
    settings = arm.keys.model_dump(exclude=_NOT_TRAINED) | {"learning_rate": arm.learning_rate}
    if settings["rows"] is None:
        del settings["rows"]  # all of them, as in records from before the key
    data = trial.data.model_dump(include={"max_tokens", "overlong", "special_tokens", "assistant_loss"})
    return {
        "the model": context.source_hash(arm.base),
        "the data": context.tuned_on,
        "the template": arm.form.template,
        "chat": arm.form.chat,
        "the system text": arm.form.system,
        **{f"training.{key}": value for key, value in training.items()},
        **{f"arms.{arm.name}.{key}": value for key, value in settings.items()},
        **{f"data.{key}": value for key, value in data.items()},
    }


def _recomputes(context: TrialContext, arm: ResolvedArm) -> bool:
    """Whether activations are recomputed: as the trial file says, or where the plan found memory too small."""
    asked, memory = context.trial.training.checkpointing, context.planned_memory(arm.name)
    if asked == "auto":
        return memory is not None and bool(memory.checkpointing)
    return asked


def _shards(context: TrialContext, arm: ResolvedArm) -> bool:
    """Whether several processes share the arm's model out: as the trial file says, or where the plan found so."""
    asked, memory = context.trial.training.sharding, context.planned_memory(arm.name)
    if asked == "auto":
        return memory is not None and memory.sharded
    return asked == "full"


def _train(context: TrialContext, arm: ResolvedArm) -> tuple[Encoded, ...]:
    """The encoded rows that the arm is tuned on."""
    check_row_count(arm.name, asked=arm.keys.rows, rows=len(context.splits.train))
    examples = context.encoded(arm, context.splits.train).examples
    return tuned_rows(examples, count=arm.keys.rows, seed=context.trial.data.seed)


def arm_task(context: TrialContext, arm: ResolvedArm, *, learning_rate: float | None, run: int = 0) -> TuneTask:
    """The task of one training run. Nothing of the held-out split goes into it."""
    trial = context.trial
    training, splits, memory = trial.training, context.splits, context.planned_memory(arm.name)
    return TuneTask(
        model=arm.model,
        model_hash=context.source_hash(arm.base),
        trust_remote_code=trial.trust_remote_code,
        folder=context.folder.arm(run_name(arm.name, run=run)),
        method=arm.keys.tuning,
        special_tokens=trial.data.special_tokens,
        train=_train(context, arm),
        validation=context.encoded(arm, splits.validation).examples,
        epochs=arm.epochs,
        batch_tokens=training.batch_tokens,
        schedule=training.schedule,
        warmup=training.warmup,
        learning_rate=learning_rate,
        weight_decay=training.weight_decay,
        clip=training.clip,
        optimizer=training.optimizer,
        precision=context.precision_of(arm),
        checkpointing=_recomputes(context, arm),
        micro_tokens=None if memory is None else memory.micro_tokens,
        early_stopping=training.early_stopping,
        evaluations=None if training.evaluations == "auto" else training.evaluations,
        checkpoint_seconds=training.checkpoint_seconds,
        seed=training.seed + run,
        sharding=_shards(context, arm),
    )
