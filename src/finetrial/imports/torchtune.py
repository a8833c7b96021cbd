"""Read a torchtune recipe's configuration (`tune run RECIPE --config CONFIG`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.imports.given import Given
from finetrial.imports.imported_run import ROLES, ImportedRun, find_file, optimizer_of, refuse_stage, schedule_of
from finetrial.imports.trainer_arguments import read_lora

TOOL = "torchtune"
# torchtune.datasets: builders that load one data set of the hub
_NAMED = {
    "alpaca_dataset": "tatsu-lab/alpaca",
    "alpaca_cleaned_dataset": "yahma/alpaca-cleaned",
    "grammar_dataset": "liweili/c4_200m",
    "samsum_dataset": "Samsung/samsum",
    "slimorca_dataset": "Open-Orca/SlimOrca-Dedup",
    "cnn_dailymail_articles_dataset": "ccdv/cnn_dailymail",
    "wikitext_dataset": "EleutherAI/wikitext_document_level",
}
_CHATS = ("chat_dataset", "slimorca_dataset")
_TEXTS = ("text_completion_dataset", "cnn_dailymail_articles_dataset", "wikitext_dataset")


def _component(given: Given) -> str:
    return str(given.get("_component_", "")).rpartition(".")[2]


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration. Raises UserError for recipes of preferences and distillation."""
    given = Given(content)
    run = ImportedRun(TOOL, given)
    if "optimizer" not in content:
        raise refuse_stage(TOOL, "a recipe without an optimizer: it generates, evaluates or quantizes")
    loss = _component(given.inner("loss"))
    for word in ("dpo", "ppo", "grpo", "kd", "rso", "simpo"):
        if word in loss.lower() or f"{word}_loss" in content or "teacher_model" in content:
            raise refuse_stage(TOOL, f"the loss {loss or word}")
    given.carried["loss"] = "as it is here"
    checkpointer = given.inner("checkpointer")
    run.model = checkpointer.take("checkpoint_dir", to="model")
    checkpointer.finish(seen=("_component_", "checkpoint_files", "recipe_checkpoint", "output_dir", "model_type"))
    _optimizer(given, run)
    _method(given, run)
    run.batch_rows = int(given.take("batch_size", to="training.batch_tokens", default=1))
    run.batch_rows *= int(given.take("gradient_accumulation_steps", to="training.batch_tokens", default=1))
    run.arm["epochs"] = float(given.take("epochs", to="arm.epochs", default=1))
    steps = given.take("max_steps_per_epoch", to="arm.epochs")
    run.max_steps = None if steps is None else int(steps * run.arm["epochs"])
    run.training["clip"] = given.take("clip_grad_norm", to="training.clip")
    if (seed := given.take("seed", to="training.seed")) is not None:
        run.training["seed"] = int(seed)
    kind = given.take("dtype", to="training.precision")
    run.training["precision"] = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(str(kind), "auto")
    _data(given, run, near=near)
    for key in ("dataset_val", "batch_size_val", "run_val_every_n_steps"):
        given.leave(key, "validation rows are cut from the source; name others under data.source")
    given.finish(seen=("model", "loss", "tokenizer", "checkpointer", "dataset", "optimizer", "lr_scheduler"))
    return run


def _optimizer(given: Given, run: ImportedRun) -> None:
    chosen = given.inner("optimizer")
    found = optimizer_of(_component(chosen))
    run.training["optimizer"] = found or "adamw"
    if found is None:
        given.left["optimizer._component_"] = f"there is no {_component(chosen)} here; adamw stands for it"
    else:
        given.carried["optimizer._component_"] = "training.optimizer"
    run.arm["learning_rate"] = float(chosen.take("lr", to="arm.learning_rate", default=2e-5))
    run.training["weight_decay"] = float(chosen.take("weight_decay", to="training.weight_decay", default=0.0))
    chosen.finish(seen=("_component_", "fused"))
    schedule = given.inner("lr_scheduler")
    run.training["schedule"] = "constant"
    if schedule.content:
        run.training["schedule"] = schedule_of(_component(schedule)) or "cosine"
        given.carried["lr_scheduler._component_"] = "training.schedule"
        steps = schedule.take("num_warmup_steps", to="training.warmup")
        run.warmup_steps = int(steps) if steps else None
        schedule.finish(seen=("_component_",))
    run.training["warmup"] = 0.0


def _method(given: Given, run: ImportedRun) -> None:
    model = given.inner("model")
    name = _component(model)
    run.arm["method"] = "full"
    given.carried["model._component_"] = "arm.method"
    if "lora" in name:
        targets = [ROLES.get(module, module) for module in model.take("lora_attn_modules", to="arm.targets") or ()]
        if model.take("apply_lora_to_mlp", to="arm.targets"):
            targets += ["gate", "up", "down"]
        read_lora(
            model,
            run,
            rank="lora_rank",
            alpha="lora_alpha",
            dropout="lora_dropout",
            targets=targets or ["q", "v"],
            defaults=(8, 16.0, 0.0),
        )
        if "qlora" in name or model.take("quantize_base", to="arm.quantize"):
            run.arm["quantize"] = "nf4"
    model.leave("apply_lora_to_output", "adapters stand on the layers here, not on the output matrix")
    model.finish(seen=("_component_",))


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    length = given.inner("tokenizer").take("max_seq_len", to="data.max_tokens")
    if length is not None:
        run.data["max_tokens"] = int(length)
    run.data["overlong"] = "cut"
    chosen = given.inner("dataset")
    name = _component(chosen)
    given.carried["dataset._component_"] = "data.format"
    place = chosen.take("source", to="data.source", default=_NAMED.get(name))
    files = chosen.take("data_files", to="data.source")
    if files is not None:
        local = find_file(str(files), near=near)
        run.data["source"] = str(local or files)
    elif place is not None:
        run.data["source"] = f"{place}:{chosen.take('split', to='data.source', default='train')}"
    columns = chosen.take("column_map", to="data.prompt and data.completion") or {}
    if name in _CHATS:
        run.data["format"] = "messages"
        run.data["assistant_loss"] = "all"
        run.data["prompt"] = chosen.take("conversation_column", to="data.prompt", default=None)
        chosen.leave("conversation_style", "turns are {role, content} or {from, value} here, whichever they are")
    elif name in _TEXTS:
        given.left["dataset._component_"] = (
            "all of a text carries loss there; here a prompt is needed (`format: text`)"
        )
        given.carried.pop("dataset._component_", None)
    elif columns:
        run.data["prompt"], run.data["completion"] = columns.get("input"), columns.get("output")
    if name.startswith("alpaca"):
        run.notes.append(
            "torchtune's alpaca data sets put fixed sentences around the instruction; here the model sees the "
            "instruction, and its input after a blank line: write them into data.template if they matter"
        )
    chosen.leave("train_on_input", "prompts carry no loss here")
    chosen.leave("new_system_prompt", "write it as `system:` under data")
    chosen.leave("prompt_template", "write it as data.template")
    chosen.finish(seen=("_component_",))
