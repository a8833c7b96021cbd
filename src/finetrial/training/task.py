"""The training task of one arm, and the progress that is reported while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from finetrial.methods.full.full_method import Full
from finetrial.methods.method import TunedMethod
from finetrial.models.device import PrecisionSetting
from finetrial.store.hashes import hash_value
from finetrial.trial.examples import Encoded

Schedule = Literal["constant", "linear", "cosine"]
OptimizerName = Literal["adamw", "adamw8bit", "adafactor", "sgd"]


# Of a task, what is hashed apart, and what changes no weight: another machine, with other memory, goes on
_ELSEWHERE = {"train", "validation", "folder", "method"} | {
    "checkpoint_seconds",
    "keeps_row_losses",
    "device",
    "micro_tokens",
    "checkpointing",
    "sharding",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneTask:
    """Everything that decides what an arm becomes."""

    model: str  # hub id or folder
    train: Sequence[Encoded]
    folder: Path  # weights or adapter, metrics.jsonl, measured.json, checkpoint/
    validation: Sequence[Encoded] = ()
    revision: str | None = None
    model_hash: str | None = None  # of its files, where it is known: a checkpoint of another model is not continued
    trust_remote_code: bool = False
    method: TunedMethod = field(default_factory=Full)
    special_tokens: tuple[str, ...] = ()
    epochs: float = 1.0
    batch_tokens: int = 8192  # processed tokens of an optimizer step
    schedule: Schedule = "cosine"
    warmup: float = 0.03  # share of all steps
    learning_rate: float | None = None  # None: the method's default for the model's width
    weight_decay: float = 0.0
    clip: float | None = 1.0  # gradient norm
    optimizer: OptimizerName = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)  # Kingma & Ba 2015, section 2
    precision: PrecisionSetting = "auto"
    checkpointing: bool = False
    model_dropout: bool = False  # False: the model's own dropout is off, whatever its configuration says
    early_stopping: int | None = None  # evaluations without improvement
    evaluations: int | None = None  # on the whole split, 0: at the end alone; None: by training/validation_plan.py
    checkpoint_seconds: float = 60.0
    keeps_weights: bool = True  # False: a trial run of a learning rate, of which only the losses count
    keeps_row_losses: bool = False  # True: what each validation row costs at the end goes to validation.jsonl
    micro_tokens: int | None = None  # tokens of one forward pass; None: by the device
    seed: int = 0
    device: str = "auto"
    sharding: bool = False  # several processes share the model out; without it each holds all of it


def task_fingerprint(task: TuneTask) -> str:
    """The hash of everything that decides what the arm becomes; a checkpoint of another task is not continued."""
    values = {name: getattr(task, name) for name in TuneTask.__dataclass_fields__ if name not in _ELSEWHERE}
    values["method"] = {"name": task.method.name, **task.method.model_dump()}
    for split in ("train", "validation"):
        values[split] = hash_value([(e.example_id, e.token_ids, e.trained) for e in getattr(task, split)])
    return hash_value(values)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an arm is. `seconds_left` is None until the first steps have been timed."""

    step: int
    steps: int
    tokens: int
    loss: float | None  # of the last step, nats a trained token
    seconds: float
    seconds_left: float | None
    micro_tokens: int | None = None  # of one forward pass at most; it falls where memory runs out


def resumed_text(step: int, *, steps: int) -> str:
    """Where a run that was stopped goes on, for the person watching."""
    return f"goes on from step {step:,} of {steps:,}"
