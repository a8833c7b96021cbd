"""Read a LLaMA-Factory configuration (`llamafactory-cli train CONFIG`) with the data set that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError, unknown_name
from finetrial.imports.given import Given
from finetrial.imports.imported_run import ALL, ImportedRun, find_file, refuse_stage, targets_of
from finetrial.imports.trainer_arguments import read_lora, read_trainer

TOOL = "LLaMA-Factory"
_METHODS = ("lora", "full")
# src/llamafactory/data/template.py: templates that are text, with nothing behind the answer but the end token
_TEXTS = {
    "vicuna": "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions.USER: {prompt} ASSISTANT:",
}
_PLAIN_TAGS = {"from", "role", "value", "content", "human", "user", "gpt", "assistant", "system"}
_PLAIN_TAGS |= {"observation", "tool", "function_call"}


def read(content: Mapping[str, Any], *, near: Sequence[Path]) -> ImportedRun:
    """The run of a configuration. `near` are the folders in which its files are looked for.

    Raises UserError for a stage that is no supervised tuning, and for a method that finetrial lacks.
    """
    given = Given(content)
    run = ImportedRun(TOOL, given)
    stage = given.take("stage", to="the trial", default="sft")
    if stage != "sft":
        raise refuse_stage(TOOL, f"stage: {stage}")
    run.model = given.take("model_name_or_path", to="model")
    run.trust_remote_code = bool(given.take("trust_remote_code", to="trust_remote_code", default=False))
    given.leave("adapter_name_or_path", "an arm starts from a model; merge that adapter first (`finetrial export`)")
    read_trainer(given, run)
    _method(given, run)
    _data(given, run, near=near)
    given.leave("train_on_prompt", "prompts carry no loss here")
    for key in ("max_samples", "tokenized_path", "streaming", "mix_strategy", "interleave_probs"):
        given.leave(key, "the data are those that --data names")
    for key in ("image_max_pixels", "video_max_pixels", "freeze_vision_tower", "freeze_multi_modal_projector"):
        given.leave(key, "models of text alone are tuned")
    given.finish()
    return run


def _method(given: Given, run: ImportedRun) -> None:
    method = given.take("finetuning_type", to="arm.method", default="lora")
    if method not in _METHODS:
        raise UserError(f"finetuning_type: {method} has no counterpart here", expected=" or ".join(_METHODS))
    run.arm["method"] = method
    if method == "full":
        return
    rank = int(given.get("lora_rank", 8))
    targets = targets_of(given.take("lora_target", to="arm.targets", default="all"))
    read_lora(
        given,
        run,
        rank="lora_rank",
        alpha="lora_alpha",
        dropout="lora_dropout",
        targets=list(ALL) if targets == "all-linear" else targets,
        defaults=(8, 2.0 * rank, 0.0),
    )
    bits = given.get("quantization_bit")
    if bits == 4 and given.get("quantization_type", "nf4") == "nf4":
        run.arm["quantize"] = "nf4"
        given.carried["quantization_bit"] = "arm.quantize"
        given.carried["quantization_type"] = "arm.quantize"
    given.leave("quantization_bit", "the frozen base is nf4 or not quantized here")
    for key in ("pissa_init", "loraplus_lr_ratio", "additional_target", "use_galore", "use_badam"):
        given.leave(key, "adapters start at zero and share one learning rate here")


def _data(given: Given, run: ImportedRun, *, near: Sequence[Path]) -> None:
    run.data["max_tokens"] = int(given.take("cutoff_len", to="data.max_tokens", default=2048))
    run.data["overlong"] = "cut"
    share = float(given.take("val_size", to="data.validation", default=0.0))
    if share >= 1:
        run.data["validation"] = int(share)
    elif share > 0:
        run.validation_share = share
    name = given.take("template", to="the model's chat template")
    if name in _TEXTS:
        given.carried["template"] = "data.template"
        run.data |= {"template": _TEXTS[name], "chat": "never"}
    elif name is not None:
        run.notes.append(
            f"`template: {given.get('template')}` becomes the chat template of the model's own tokenizer, which "
            "may write turns otherwise; `finetrial check` shows them"
        )
    names = given.take("dataset", to="data.source")
    if names is None:
        return
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    if len(listed) > 1:
        run.no_data = f"several data sets, {', '.join(listed)}: a trial has one source"
        return
    given.leave("eval_dataset", "validation rows are cut from the source; name others under data.source")
    entry = _description(listed[0], given.take("dataset_dir", to="data.source", default="data"), near=near)
    if isinstance(entry, str):
        run.no_data = entry
        return
    _describe(entry.content, given, run, folder=entry.folder)
    if (most := given.take("max_samples", to="data.source")) is not None and "source" in run.data:
        run.data["source"] += f"[:{int(most)}]"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A data set's entry of dataset_info.json, and the folder that its file stands in."""

    content: Mapping[str, Any]
    folder: Path


def _description(name: str, dataset_dir: str, *, near: Sequence[Path]) -> _Entry | str:
    """The description of a data set; a text that says why there is none here."""
    folder = find_file(dataset_dir, near=[place for base in near for place in (base, *base.parents[:3])])
    info = None if folder is None else folder / "dataset_info.json"
    if info is None or folder is None or not info.is_file():
        return f"the data set {name!r}, whose dataset_info.json is not here (dataset_dir: {dataset_dir})"
    entries = json.loads(info.read_text(encoding="utf-8"))
    if name not in entries:
        raise unknown_name(f"data set of {info}", name, list(entries))
    return _Entry(entries[name], folder)


def _describe(entry: Mapping[str, Any], given: Given, run: ImportedRun, *, folder: Path) -> None:
    if entry.get("ranking"):
        raise refuse_stage(TOOL, "a data set of preferences (ranking: true)")
    place = entry.get("hf_hub_url")
    if place is not None:
        parts = [place, entry.get("subset"), entry.get("split", "train")]
        run.data["source"] = ":".join(str(part) for part in parts if part)
    else:
        run.data["source"] = str(folder / str(entry.get("file_name")))
    columns = entry.get("columns", {})
    if entry.get("formatting", "alpaca") == "sharegpt":
        run.data["format"] = "messages"
        run.data["prompt"] = columns.get("messages", "conversations")
        run.data["assistant_loss"] = "last" if given.take("mask_history", to="data.assistant_loss") else "all"
        if "mask_history" not in given.content:
            run.notes.append(
                "every assistant turn is trained, as there; `assistant_loss: last` trains the last alone"
            )
        stray = set(map(str, entry.get("tags", {}).values())) - _PLAIN_TAGS
        if stray:
            given.left["dataset_info.tags"] = f"turns are {{role, content}} or {{from, value}} here, not {stray}"
    else:
        prompt, query = columns.get("prompt", "instruction"), columns.get("query", "input")
        run.data["completion"] = columns.get("response", "output")
        run.data["prompt"] = prompt
        if (prompt, query) == ("instruction", "input"):
            del run.data["prompt"]  # found by name, and then `input` follows the instruction
            run.notes.append("a row's `input` follows its instruction after a blank line here, after a line there")
    for key in ("system", "history", "images", "videos", "audios"):
        if columns.get(key):
            given.left[f"dataset_info.columns.{key}"] = {
                "system": "a system text is one for the whole trial: `system:` under data",
                "history": "earlier turns stand in rows of chats (`format: messages`)",
            }.get(key, "models of text alone are tuned")
