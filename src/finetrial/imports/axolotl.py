"""Read an Axolotl configuration (`axolotl train CONFIG`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.imports.given import Given
from finetrial.imports.imported_run import ImportedRun, find_file, refuse_stage, targets_of
from finetrial.imports.trainer_arguments import (
    read_lora,
    read_optimizer,
    read_precision,
    read_schedule,
    read_warmup,
)

TOOL = "Axolotl"
_CHATS = ("chat_template", "sharegpt")
_FIELDS = {"field_instruction": "prompt", "field_output": "completion"}


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration. Raises UserError for reinforcement and preferences, and for other adapters."""
    given = Given(content)
    run = ImportedRun(TOOL, given)
    if given.get("rl") or given.get("reward_model") or given.get("process_reward_model"):
        raise refuse_stage(TOOL, f"rl: {given.get('rl', 'a reward model')}")
    run.model = given.take("base_model", to="model")
    run.trust_remote_code = bool(given.take("trust_remote_code", to="trust_remote_code", default=False))
    run.arm["learning_rate"] = float(given.take("learning_rate", to="arm.learning_rate", default=2e-4))
    run.arm["epochs"] = float(given.take("num_epochs", to="arm.epochs", default=1))
    micro = int(given.take("micro_batch_size", to="training.batch_tokens", default=1))
    run.batch_rows = micro * int(given.take("gradient_accumulation_steps", to="training.batch_tokens", default=1))
    steps = given.take("max_steps", to="arm.epochs")
    run.max_steps = int(steps) if steps else None
    read_schedule(given, run, key="lr_scheduler", default="cosine")
    read_warmup(given, run)
    if "warmup_steps" not in content and "warmup_ratio" not in content:
        run.training["warmup"] = 0.03  # of the steps, at most 100: axolotl's builders
    read_optimizer(given, run, key="optimizer", default="adamw_torch_fused")
    run.training["weight_decay"] = float(given.take("weight_decay", to="training.weight_decay", default=0.0))
    run.training["clip"] = float(given.take("max_grad_norm", to="training.clip", default=1.0)) or None
    run.training["seed"] = int(given.take("seed", to="training.seed", default=42))
    read_precision(given, run)
    if given.get("gradient_checkpointing") is not None:
        given.carried["gradient_checkpointing"] = "training.checkpointing (auto)"
    _method(given, run)
    _data(given, run, near=near)
    given.leave("train_on_inputs", "prompts carry no loss here")
    if (new := given.take("tokens", to="data.special_tokens")) is not None:
        run.data["special_tokens"] = [str(token) for token in new]
    if (patience := given.take("early_stopping_patience", to="training.early_stopping")) is not None:
        run.training["early_stopping"] = int(patience)
    given.leave("special_tokens", "the tokenizer's own are used; rows are packed and need no padding")
    given.leave("eot_tokens", "a turn ends as the chat template writes it")
    given.leave("processor_type", "models of text alone are tuned")
    given.leave("pretraining_dataset", "all of a text carries loss there; here a prompt is needed (`format: text`)")
    for key, usual in (("adam_beta1", 0.9), ("adam_beta2", 0.999), ("adam_epsilon", 1e-8)):
        given.leave(key, f"fixed at {usual:g} here")
    for key in ("cosine_min_lr_ratio", "eta_min"):
        given.leave(key, "the rate falls to nothing here")
    given.finish(seen=("datasets",))
    return run


def _method(given: Given, run: ImportedRun) -> None:
    adapter = given.take("adapter", to="arm.method")
    if adapter is None:
        run.arm["method"] = "full"
        for key in ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_linear"):
            given.leave(key, "no adapter is set")
        return
    if adapter not in ("lora", "qlora"):
        raise UserError(f"adapter: {adapter} has no counterpart here", expected="lora, qlora or none")
    every = given.take("lora_target_linear", to="arm.targets")
    named = given.take("lora_target_modules", to="arm.targets")
    targets = "all-linear" if every else targets_of(named) if named else ["q", "v"]
    read_lora(
        given,
        run,
        rank="lora_r",
        alpha="lora_alpha",
        dropout="lora_dropout",
        targets=targets,
        defaults=(8, 16.0, 0.0),
    )
    if adapter == "qlora" or given.get("load_in_4bit"):
        run.arm["quantize"] = "nf4"
        given.carried["load_in_4bit"] = "arm.quantize"
    given.leave("load_in_8bit", "the frozen base is nf4 or not quantized here")
    given.leave("lora_modules_to_save", "adapters alone are trained here")


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    run.data["max_tokens"] = int(given.take("sequence_len", to="data.max_tokens", default=512))
    run.data["overlong"] = "cut"
    held = float(given.take("val_set_size", to="data.validation", default=0.0))
    if held >= 1:
        run.data["validation"] = int(held)
    elif held > 0:
        run.validation_share = held
    sets = given.get("datasets", ())
    if len(sets) > 1:
        run.no_data = f"{len(sets)} data sets under `datasets`: a trial has one source"
        return
    if not sets:
        return
    chosen = Given(sets[0], "datasets.", given.carried, given.left)
    path = str(chosen.take("path", to="data.source", default=""))
    files = chosen.take("data_files", to="data.source")
    name = files[0] if isinstance(files, list) else files or path
    local = find_file(str(name), near=near)
    parts = [path, chosen.take("name", to="data.source"), chosen.take("split", to="data.source")]
    run.data["source"] = str(local) if local is not None else ":".join(str(part) for part in parts if part)
    if local is not None and local.suffix == "" and local.is_file():
        given.left["datasets.path"] = "the file has no suffix that says what it holds"
    if (template := given.take("chat_template", to="the model's chat template")) is not None:
        run.notes.append(f"`chat_template: {template}` becomes the template of the model's own tokenizer")
    _format(chosen, run)
    chosen.leave("ds_type", "the file's name says it")
    chosen.finish()


def _format(chosen: Given, run: ImportedRun) -> None:
    """How rows become prompts and completions, from the data set's `type`."""
    kind = chosen.take("type", to="data.format", default="alpaca")
    if isinstance(kind, Mapping):
        fields = chosen.inner("type")
        for theirs, ours in _FIELDS.items():
            if (column := fields.take(theirs, to=f"data.{ours}")) is not None:
                run.data[ours] = column
        if (text := fields.take("format", to="data.template")) is not None:
            run.data["template"] = str(text).replace("{instruction}", "{prompt}")
        fields.leave("no_input_format", "one template serves all rows here")
        fields.leave("field_input", "a template names columns itself: {input}")
        fields.finish()
        return
    name = str(kind)
    if name.startswith(_CHATS):
        run.data["format"] = "messages"
        run.data["prompt"] = chosen.take("field_messages", to="data.prompt", default="messages")
        run.data["assistant_loss"] = "all"
        for key in ("message_field_role", "message_field_content", "message_property_mappings", "roles"):
            chosen.leave(key, "turns are {role, content} or {from, value} here")
        trained = chosen.get("roles_to_train", ["assistant"])
        if trained != ["assistant"]:
            chosen.leave("roles_to_train", "assistant turns carry loss here")
        elif "roles_to_train" in chosen.content:
            chosen.carried["datasets.roles_to_train"] = "data.assistant_loss"
    elif name.startswith("completion"):
        chosen.left["datasets.type"] = "all of a text carries loss there; here a prompt is needed (`format: text`)"
    elif name.startswith("alpaca"):
        run.notes.append(
            "`type: alpaca` puts fixed sentences around the instruction; here the model sees the instruction, and "
            "its input after a blank line: write them into data.template if they matter"
        )
    else:
        chosen.left["datasets.type"] = f"the prompt format {name!r} is not known here; write data.template"
        chosen.carried.pop("datasets.type", None)
