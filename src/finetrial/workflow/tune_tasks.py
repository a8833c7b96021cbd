"""What is the engine asked for when it tunes an arm, what decides the outcome, and what does the watcher hear?"""

from __future__ import annotations

from typing import Any

from finetrial.store.layout import run_name
from finetrial.training.task import Progress, TuneTask
from finetrial.units import format_seconds
from finetrial.workflow.context import TrialContext

# Of an arm's keys, those that change nothing of its training, or that are named apart.
_NOT_TRAINED = {"template", "prompt_file", "chat", "system", "stop", "shots", "epochs"}
# Of the trial file's training settings, those that change no weight of a training run, or that stand elsewhere.
_NO_WEIGHT = {"checkpoint_seconds", "trackers", "seeds", "learning_rate"}


def tune_inputs(context: TrialContext, arm: str, *, run: int = 0) -> dict[str, Any]:
    """Everything that decides what the arm becomes, by the name a user knows it by."""
    trial = context.trial
    training = trial.training.model_dump(exclude=_NO_WEIGHT) | {"epochs": trial.epochs_of(arm)}
    training["seed"] += run
    settings = trial.arms[arm].model_dump(exclude=_NOT_TRAINED) | {"learning_rate": trial.rate_of(arm)}
    form = context.forms[arm]
    data = trial.data.model_dump(include={"max_tokens", "overlong", "special_tokens", "assistant_loss"})
    return {
        "the model": context.model_hash,
        "the data": context.tuned_on,
        "the template": form.template,
        "chat": form.chat,
        "the system text": form.system,
        **{f"training.{key}": value for key, value in training.items()},
        **{f"arms.{arm}.{key}": value for key, value in settings.items()},
        **{f"data.{key}": value for key, value in data.items()},
    }


def arm_task(context: TrialContext, arm: str, *, learning_rate: float | None, run: int = 0) -> TuneTask:
    """What the engine is asked for. Nothing of the held-out split goes into it."""
    trial, chosen = context.trial, context.trial.arms[arm]
    training, splits = trial.training, context.splits
    return TuneTask(
        model=context.model,
        model_hash=context.model_hash,
        trust_remote_code=trial.trust_remote_code,
        folder=context.folder.arm(run_name(arm, run=run)),
        method=chosen.tuning,
        special_tokens=trial.data.special_tokens,
        train=context.encoded(arm, splits.train).examples,
        validation=context.encoded(arm, splits.validation).examples,
        epochs=trial.epochs_of(arm),
        batch_tokens=training.batch_tokens,
        schedule=training.schedule,
        warmup=training.warmup,
        learning_rate=learning_rate,
        weight_decay=training.weight_decay,
        clip=training.clip,
        optimizer=training.optimizer,
        precision=chosen.precision or training.precision,
        checkpointing=training.checkpointing,
        early_stopping=training.early_stopping,
        evaluations=None if training.evaluations == "auto" else training.evaluations,
        checkpoint_seconds=training.checkpoint_seconds,
        seed=training.seed + run,
    )


def search_label(arm: str, rate: float) -> str:
    """The name of one rate's run in a search."""
    return f"search {arm}, learning rate {rate:g}"


def tune_label(name: str) -> str:
    """The name of a training run among a run's jobs."""
    return f"tune {name}"


def sample_label(name: str) -> str:
    """The name of an arm's sampling among a run's jobs."""
    return f"sample {name}"


def whole_run(context: TrialContext, label: str) -> str:
    """What everything still to come takes, in words; empty where that is this job alone, or not known yet."""
    left = None if context.forecast.only(label) else context.forecast.seconds_left()
    return "" if left is None else f"the whole run about {format_seconds(left)}"


class Watch:
    """Turns the engine's progress into the watcher's lines and bars."""

    def __init__(self, context: TrialContext, label: str, *, announces: str | None = None) -> None:
        """`label` names the bar; `announces` opens the line that says how long it will take, if one is wanted."""
        self._context, self._listener, self._label, self._announces = context, context.listener, label, announces
        self._micro_tokens: int | None = None

    def __call__(self, progress: Progress) -> None:
        self._context.forecast.progress(self._label, seconds=progress.seconds, seconds_left=progress.seconds_left)
        run = whole_run(self._context, self._label)
        if progress.seconds_left is not None and self._announces is not None:
            own = format_seconds(progress.seconds + progress.seconds_left)
            line = f"{self._announces}: {progress.steps:,} steps, about {own}"
            self._listener.line(f"{line}; {run}" if run else line)
            self._announces = None
        if self._micro_tokens is not None and progress.micro_tokens != self._micro_tokens:
            self._listener.line(
                f"{self._label}: memory ran out; at most {progress.micro_tokens:,} tokens at once from now on, the "
                "effective batch stays"
            )
        self._micro_tokens = progress.micro_tokens
        self._listener.step(
            self._label,
            done=progress.step,
            total=progress.steps,
            detail="; ".join(p for p in ("" if progress.loss is None else f"loss {progress.loss:.3f}", run) if p),
            seconds_left=progress.seconds_left,
        )
