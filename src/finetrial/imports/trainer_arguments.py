"""Read the arguments of transformers' Trainer, which LLaMA-Factory, TRL and Unsloth share."""

from __future__ import annotations

from typing import Any

from finetrial.imports.given import Given
from finetrial.imports.imported_run import ImportedRun, optimizer_of, schedule_of

# transformers 5: TrainingArguments, where a tool says nothing else
_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
}
_ADAM = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, "label_smoothing_factor": 0.0}
_TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


def read_trainer(given: Given, run: ImportedRun, *, defaults: dict[str, Any] | None = None) -> None:
    """Take learning rate, epochs, batch, schedule, optimizer and precision. `defaults` are the tool's own."""
    default = _DEFAULTS | (defaults or {})

    def take(key: str, to: str) -> Any:
        return given.take(key, to=to, default=default[key])

    run.arm["learning_rate"] = float(take("learning_rate", "arm.learning_rate"))
    run.arm["epochs"] = float(take("num_train_epochs", "arm.epochs"))
    rows = int(take("per_device_train_batch_size", "training.batch_tokens"))
    run.batch_rows = rows * int(take("gradient_accumulation_steps", "training.batch_tokens"))
    steps = int(given.take("max_steps", to="arm.epochs", default=-1))
    run.max_steps = steps if steps > 0 else None
    read_schedule(given, run, key="lr_scheduler_type", default=default["lr_scheduler_type"])
    read_warmup(given, run)
    run.training["weight_decay"] = float(take("weight_decay", "training.weight_decay"))
    clip = float(take("max_grad_norm", "training.clip"))
    run.training["clip"] = clip if clip > 0 else None
    run.training["seed"] = int(take("seed", "training.seed"))
    read_optimizer(given, run, key="optim", default="adamw_torch")
    read_precision(given, run)
    if given.get("gradient_checkpointing") is not None:
        given.carried["gradient_checkpointing"] = "training.checkpointing (auto)"
    trackers = given.get("report_to", ())
    named = [trackers] if isinstance(trackers, str) else list(trackers)
    if kept := [name for name in named if name in _TRACKERS]:
        run.training["trackers"] = kept
        given.carried["report_to"] = "training.trackers"
    for key, usual in _ADAM.items():
        if given.get(key) == usual:
            given.carried[key] = "as it is here"
        else:
            given.leave(key, f"fixed at {usual:g} here")


def read_schedule(given: Given, run: ImportedRun, *, key: str, default: str) -> None:
    """Take the learning-rate schedule; one that finetrial lacks becomes cosine, with a reason."""
    asked = given.get(key, default)
    found = schedule_of(asked)
    run.training["schedule"] = found or "cosine"
    if found is None:
        given.leave(key, f"there is no schedule {asked!r} here; cosine stands for it")
    elif key in given.content:
        given.carried[given.prefix + key] = "training.schedule"


def read_warmup(given: Given, run: ImportedRun) -> None:
    """Take the warm-up, as a share or in steps. A share of steps below one is a share in transformers 5."""
    share = given.take("warmup_ratio", to="training.warmup", default=None)
    steps = given.take("warmup_steps", to="training.warmup", default=None)
    if steps is not None and 0 < float(steps) < 1:
        share, steps = steps, None
    run.warmup_steps = int(steps) if steps else None
    run.training["warmup"] = float(share or 0.0)


def read_optimizer(given: Given, run: ImportedRun, *, key: str, default: str) -> None:
    """Take the optimizer; one that finetrial lacks becomes AdamW, with a reason."""
    asked = given.get(key, default)
    found = optimizer_of(asked)
    run.training["optimizer"] = found or "adamw"
    if found is None:
        given.leave(key, f"there is no optimizer {asked!r} here; adamw stands for it")
    elif key in given.content:
        given.carried[given.prefix + key] = "training.optimizer"


def read_precision(given: Given, run: ImportedRun) -> None:
    """Take bf16 and fp16; `auto` stays ours to choose."""
    for key, name in (("bf16", "bfloat16"), ("fp16", "float16")):
        value = given.get(key)
        if value is True or str(value).lower() == "true":
            run.training["precision"] = name
            given.carried[key] = "training.precision"
        elif value is not None:
            given.carried[key] = "training.precision (auto)"
    given.leave("pure_bf16", "weights are kept in float32 here, and computed in bfloat16")


def read_lora(
    given: Given,
    run: ImportedRun,
    *,
    rank: str,
    alpha: str,
    dropout: str,
    targets: Any,
    defaults: tuple[int, float, float],
) -> None:
    """Take rank, alpha and dropout under these names, and target modules as given."""
    run.arm["method"] = "lora"
    run.arm["rank"] = int(given.take(rank, to="arm.rank", default=defaults[0]))
    run.arm["alpha"] = float(given.take(alpha, to="arm.alpha", default=defaults[1]))
    run.arm["dropout"] = float(given.take(dropout, to="arm.dropout", default=defaults[2]))
    run.arm["targets"] = targets
    for key in ("use_dora", "peft_use_dora"):
        if given.take(key, to="arm.dora"):
            run.arm["dora"] = True
    for key in ("use_rslora", "peft_use_rslora"):
        if given.take(key, to="arm.rank_stabilised"):
            run.arm["rank_stabilised"] = True
