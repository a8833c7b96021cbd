"""Read a configuration of mlx-lm's `lora` command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.imports.given import Given
from finetrial.imports.imported_run import ImportedRun, find_file, refuse_stage, targets_of
from finetrial.imports.trainer_arguments import read_optimizer, read_schedule

TOOL = "MLX"


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration. Raises UserError for training on preferences, and for other methods."""
    given = Given(content)
    run = ImportedRun(TOOL, given)
    if given.get("training_mode", "normal") != "normal":
        raise refuse_stage(TOOL, f"training_mode: {given.get('training_mode')}")
    run.model = given.take("model", to="model")
    run.arm["learning_rate"] = float(given.take("learning_rate", to="arm.learning_rate", default=1e-5))
    run.batch_rows = int(given.take("batch_size", to="training.batch_tokens", default=4))
    run.batch_rows *= int(given.take("grad_accumulation_steps", to="training.batch_tokens", default=1))
    run.max_steps = int(given.take("iters", to="arm.epochs", default=1000))
    run.training["seed"] = int(given.take("seed", to="training.seed", default=0))
    read_optimizer(given, run, key="optimizer", default="adam")
    run.training["clip"] = None  # it clips nothing
    _schedule(given, run)
    if given.get("grad_checkpoint") is not None:
        given.carried["grad_checkpoint"] = "training.checkpointing (auto)"
    _method(given, run)
    _data(given, run, near=near)
    given.finish(seen=("lora_parameters", "hf_dataset", "lr_schedule", "optimizer_config", "training_mode"))
    return run


def _schedule(given: Given, run: ImportedRun) -> None:
    schedule = given.inner("lr_schedule")
    run.training["warmup"] = 0.0
    if not schedule.content:
        run.training["schedule"] = "constant"
        return
    read_schedule(schedule, run, key="name", default="constant")
    steps = schedule.take("warmup", to="training.warmup")
    run.warmup_steps = int(steps) if steps else None
    schedule.leave("arguments", "the rate falls from the learning rate to nothing here")
    schedule.leave("warmup_init", "a warm-up starts from nothing here")
    config = given.inner("optimizer_config").inner(str(given.get("optimizer", "adam")))
    run.training["weight_decay"] = float(config.take("weight_decay", to="training.weight_decay", default=0.0))
    config.finish()


def _method(given: Given, run: ImportedRun) -> None:
    kind = given.take("fine_tune_type", to="arm.method", default="lora")
    if kind not in ("lora", "dora", "full"):
        raise UserError(f"fine_tune_type: {kind} has no counterpart here", expected="lora, dora or full")
    layers = int(given.get("num_layers", given.get("lora_layers", 16)))
    if layers > 0:
        for key in ("num_layers", "lora_layers"):
            given.leave(key, "every layer is tuned here, not the last ones alone")
        if not {"num_layers", "lora_layers"} & set(given.content):
            given.left["num_layers"] = "16 unless given there; every layer is tuned here"
    if kind == "full":
        run.arm["method"] = "full"
        return
    parameters = given.inner("lora_parameters")
    rank = int(parameters.take("rank", to="arm.rank", default=8))
    scale = float(parameters.take("scale", to="arm.alpha", default=20.0))
    run.arm |= {
        "method": "lora",
        "rank": rank,
        "alpha": scale * rank,  # W + scale B A there, W + alpha / rank B A here
        "dropout": float(parameters.take("dropout", to="arm.dropout", default=0.0)),
        "targets": targets_of(parameters.take("keys", to="arm.targets", default="all-linear")),
    }
    if kind == "dora":
        run.arm["dora"] = True
    parameters.finish()


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    run.data["max_tokens"] = int(given.take("max_seq_length", to="data.max_tokens", default=2048))
    run.data["overlong"] = "cut"
    if not given.get("mask_prompt", False):
        given.left["mask_prompt"] = "off there unless given, so that prompts carry loss too; they do not here"
    else:
        given.carried["mask_prompt"] = "as it is here"
    hub = given.inner("hf_dataset")
    if hub.content:
        name = hub.take("path", to="data.source", default=hub.get("name"))
        hub.carried["hf_dataset.name"] = "data.source"
        split = hub.take("train_split", to="data.source", default="train")
        run.data["source"] = f"{name}:{split}"
        run.data["prompt"] = hub.take("prompt_feature", to="data.prompt", default=None)
        run.data["completion"] = hub.take("completion_feature", to="data.completion", default=None)
        hub.leave("valid_split", "validation rows are cut from the source; name others under data.source")
        hub.finish()
        return
    name = given.take("data", to="data.source")
    folder = None if name is None else find_file(str(name), near=near)
    if folder is None or not folder.is_dir():
        run.data["source"] = name
        return
    files = {
        ours: str(folder / f"{theirs}.jsonl")
        for ours, theirs in (("train", "train"), ("validation", "valid"), ("heldout", "test"))
        if (folder / f"{theirs}.jsonl").is_file()
    }
    run.data["source"] = files if len(files) > 1 else files.get("train", str(folder))
