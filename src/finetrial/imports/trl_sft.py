"""Read TRL's arguments: the YAML of `trl sft`, or SFTConfig as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.imports.given import Given
from finetrial.imports.imported_run import ImportedRun, find_file, targets_of
from finetrial.imports.trainer_arguments import read_lora, read_trainer

TOOL = "TRL"
_SFT = {"learning_rate": 2e-5}  # SFTConfig's own


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration."""
    given = Given(content)
    run = ImportedRun(TOOL, given)
    run.model = given.take("model_name_or_path", to="model")
    run.trust_remote_code = bool(given.take("trust_remote_code", to="trust_remote_code", default=False))
    if given.get("model_revision") == "main":
        given.carried["model_revision"] = "model"
    given.leave("model_revision", "a model is the one that the hub or the cache gives")
    given.leave("dtype", "weights are kept in float32 here, and computed in training.precision")
    given.leave("torch_dtype", "weights are kept in float32 here, and computed in training.precision")
    read_trainer(given, run, defaults=_SFT)
    if given.take("use_peft", to="arm.method") or given.get("lora_target_modules"):
        named = given.take("lora_target_modules", to="arm.targets", default=["q_proj", "v_proj"])
        read_lora(
            given,
            run,
            rank="lora_r",
            alpha="lora_alpha",
            dropout="lora_dropout",
            targets=targets_of(named),
            defaults=(16, 32.0, 0.05),
        )
        if given.take("load_in_4bit", to="arm.quantize"):
            run.arm["quantize"] = "nf4"
            given.carried["bnb_4bit_quant_type"] = "arm.quantize"
        given.leave("load_in_8bit", "the frozen base is nf4 or not quantized here")
    else:
        run.arm["method"] = "full"
        for key in ("lora_r", "lora_alpha", "lora_dropout", "bnb_4bit_quant_type", "lora_task_type"):
            given.leave(key, "use_peft is off")
    _data(given, run, near=near)
    given.finish()
    return run


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    length = given.take("max_length", to="data.max_tokens", default=given.get("max_seq_length", 1024))
    if "max_seq_length" in given.content:
        given.carried["max_seq_length"] = "data.max_tokens"
    run.data["max_tokens"] = int(length)
    run.data["overlong"] = "cut"
    if "truncation_mode" in given.content:
        given.leave("truncation_mode", "prompts are shortened here, and completions never")
    name = given.take("dataset_name", to="data.source")
    mixture = given.get("datasets") or ()
    if len(mixture) > 1:
        run.no_data = f"{len(mixture)} data sets under `datasets`: a trial has one source"
        return
    if name is None and mixture:
        one = Given(mixture[0], "datasets.", given.carried, given.left)
        name = one.take("path", to="data.source")
        one.finish()
    if name is not None:
        local = find_file(str(name), near=near)
        if local is not None:
            run.data["source"] = str(local)
        else:
            parts = [
                name,
                given.take("dataset_config", to="data.source"),
                given.take("dataset_train_split", to="data.source", default="train"),
            ]
            run.data["source"] = ":".join(str(part) for part in parts if part)
    given.leave("dataset_test_split", "validation rows are cut from the source; name others under data.source")
    given.leave("eval_dataset", "validation rows are cut from the source; name others under data.source")
    if given.get("dataset_text_field", "text") != "text" or given.get("completion_only_loss") is False:
        given.leave(
            "dataset_text_field", "all of a text carries loss there; here a prompt is needed (`format: text`)"
        )
        given.leave("completion_only_loss", "prompts carry no loss here")
    elif "dataset_text_field" in given.content:
        given.carried["dataset_text_field"] = "its default, for texts without a prompt"
    given.take("completion_only_loss", to="as it is here")
    if given.take("assistant_only_loss", to="data.assistant_loss"):
        run.data["assistant_loss"] = "all"
    given.leave("chat_template_path", "the chat template is that of the model's own tokenizer")
    given.leave("eos_token", "the end token is the tokenizer's own")
    given.leave("pad_token", "rows are packed end to end here and need no padding")
    if given.get("loss_type") in ("nll", "chunked_nll"):
        given.carried["loss_type"] = "as it is here"
