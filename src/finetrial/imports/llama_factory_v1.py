"""Read a configuration of LLaMA-Factory's v1 (`USE_V1=1 llamafactory-cli sft CONFIG`) with the data that it names.

Keys and defaults are those of its src/llamafactory/v1/config and v1/core/base_trainer.py, August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from finetrial.errors import UserError
from finetrial.imports.given import SPEED, Given
from finetrial.imports.imported_run import ALL, ImportedRun, find_file, refuse_stage, schedule_of, targets_of
from finetrial.imports.trainer_arguments import read_lora, read_precision

TOOL = "LLaMA-Factory v1"
_WEIGHT_DECAY = 0.01  # torch.optim.AdamW's own, which is made with a learning rate alone
_PREFERENCES = ("pref_loss", "pref_beta", "pref_ftx", "simpo_gamma", "dpo_label_smoothing", "ld_alpha")
_DEVICES = ("mp_replicate_size", "mp_shard_size", "dp_size", "cp_size", "cp_mode", "dist_timeout")
_SAMPLING = ("sample_backend", "max_new_tokens")


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration. `near` are the folders in which its files are looked for.

    Raises UserError for preference tuning, for a method that finetrial lacks, and for models that are no text's.
    """
    given = Given(content)
    run = ImportedRun(TOOL, given)
    kind = given.take("model_class", to="the trial", default="llm")
    if kind != "llm":
        raise refuse_stage(TOOL, f"model_class: {kind}")
    if preferring := [key for key in _PREFERENCES if key in content]:
        raise refuse_stage(TOOL, f"{preferring[0]}: a run on preferences")
    run.model = given.take("model", to="model")
    run.trust_remote_code = bool(given.take("trust_remote_code", to="trust_remote_code", default=False))
    _training(given, run)
    _method(given, run)
    _data(given, run, near=near)
    for key in _DEVICES:
        given.leave(key, "one device is meant here; the result is the same")
    for key in _SAMPLING:
        given.leave(key, "how answers are drawn stands under `sampling`, the same for every arm")
    for key in ("dist_config", "kernel_config", "init_config", "batching_strategy", "batching_workers"):
        given.leave(key, SPEED)
    given.leave("custom_chat_template", "the template is that of the model's own tokenizer")
    given.finish()
    return run


def _training(given: Given, run: ImportedRun) -> None:
    run.arm["learning_rate"] = float(given.take("learning_rate", to="arm.learning_rate", default=1e-4))
    run.arm["epochs"] = float(given.take("num_train_epochs", to="arm.epochs", default=3))
    steps = int(given.take("max_steps", to="arm.epochs", default=-1))
    run.max_steps = steps if steps > 0 else None
    rows = int(given.take("micro_batch_size", to="training.batch_tokens", default=1))
    run.batch_rows = int(given.take("global_batch_size", to="training.batch_tokens", default=rows))
    run.training |= {
        "clip": float(given.take("max_grad_norm", to="training.clip", default=1.0)),
        "seed": int(given.take("seed", to="training.seed", default=42)),
        "warmup": 0.0,
        "weight_decay": _WEIGHT_DECAY,
        "optimizer": "adamw",
    }
    if "bf16" not in given.content:
        run.training["precision"] = "bfloat16"  # its default
    read_precision(given, run)
    if given.get("enable_activation_checkpointing") is not None:
        given.carried["enable_activation_checkpointing"] = "training.checkpointing (auto)"
    _optimizer(given, run)
    _schedule(given, run)


def _optimizer(given: Given, run: ImportedRun) -> None:
    named = given.inner("optim_config")
    if (name := named.get("name")) is not None:
        named.leave("name", f"there is no optimizer {name!r} here; adamw stands for it")
        for key in set(named.content) - {"name"}:
            named.leave(key, f"a setting of {name}")
        given.carried["optim_config"] = "training.optimizer"


def _schedule(given: Given, run: ImportedRun) -> None:
    """Without a plugin the rate stays as it is."""
    named = given.inner("lr_scheduler_config")
    asked = named.get("name", "constant")
    found = schedule_of(asked)
    run.training["schedule"] = found or "cosine"
    if not named.content:
        return
    given.carried["lr_scheduler_config"] = "training.schedule"
    if found is None:
        named.leave("name", f"there is no schedule {asked!r} here; cosine stands for it")
    else:
        named.take("name", to="training.schedule")
    run.training["warmup"] = float(named.take("warmup_ratio", to="training.warmup", default=0.0))
    steps = named.take("warmup_steps", to="training.warmup")
    run.warmup_steps = int(steps) if steps else None
    named.finish()


def _method(given: Given, run: ImportedRun) -> None:
    peft = given.inner("peft_config")
    if not peft.content:
        run.arm["method"] = "full"
    else:
        name = peft.take("name", to="arm.method", default="lora")
        if name != "lora":
            raise UserError(f"peft_config.name: {name} has no counterpart here", expected="lora, or no peft_config")
        targets = targets_of(peft.take("target_modules", to="arm.targets", default="all"))
        read_lora(
            peft,
            run,
            rank="r",
            alpha="lora_alpha",
            dropout="lora_dropout",
            targets=list(ALL) if targets == "all-linear" else targets,
            defaults=(8, 16.0, 0.05),
        )
        peft.leave("adapter_name_or_path", "an arm starts from a model; merge that adapter first")
        peft.leave("modules_to_save", "adapters alone are tuned")
        peft.finish()
        given.carried["peft_config"] = "the arm"
    quantized = given.inner("quant_config")
    if quantized.content:
        given.carried["quant_config"] = "arm.quantize"
        bits = quantized.take("quantization_bit", to="arm.quantize", default=4)
        if bits == 4 and quantized.get("quantization_type", "nf4") == "nf4" and run.arm["method"] == "lora":
            run.arm["quantize"] = "nf4"
            quantized.take("name", to="arm.quantize")
            quantized.take("quantization_type", to="arm.quantize")
        else:
            given.left["quant_config"] = "the frozen base is nf4 or not quantized here"
            del given.carried["quant_config"]
        quantized.finish()


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    run.data["max_tokens"] = int(given.take("cutoff_len", to="data.max_tokens", default=2048))
    run.data["overlong"] = "cut"
    place = given.take("train_dataset", to="data.source")
    given.leave("eval_dataset", "validation rows are cut from the source; name others under data.source")
    if place is None:
        return
    described = find_file(str(place), near=near)
    if described is None or described.suffix not in (".yaml", ".yml"):
        if described is None and str(place).endswith((".yaml", ".yml")):
            run.no_data = f"{place}, which is not here"
        else:
            run.data["source"] = str(described or place)
        return
    entries = yaml.safe_load(described.read_text(encoding="utf-8")) or {}
    if len(entries) != 1:
        run.no_data = f"several data sets, {', '.join(map(str, entries))}: a trial has one source"
        return
    (name, entry), *_ = entries.items()
    _entry(str(name), entry, given, run, near=(*near, described.parent, described.parent.parent))


def _entry(name: str, entry: Mapping[str, Any], given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    path = str(entry.get("path"))
    if entry.get("source", "hf_hub") == "hf_hub":
        run.data["source"] = f"{path}:{entry.get('split', 'train')}"
    elif (found := find_file(path, near=near)) is not None:
        run.data["source"] = str(found)
    else:
        run.no_data = f"{path}, which is not here"
    for key in ("size", "weight"):
        if entry.get(key):
            given.left[f"{name}.{key}"] = "rows are drawn with repetition there; each counts once here"
    if entry.get("converter") == "pair":
        raise refuse_stage(TOOL, f"{name}: a data set of preferences (converter: pair)")
    if entry.get("converter") == "sharegpt":
        run.data["format"] = "messages"
        run.data["prompt"] = "conversations"
        run.data["assistant_loss"] = "all"
    elif entry.get("converter") == "alpaca":
        run.notes.append("a row's `input` follows its instruction after a blank line here, without one there")
