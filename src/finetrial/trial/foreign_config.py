"""Recognise the configuration of another tuning tool by its keys, where a trial file was expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError


@dataclass(frozen=True, slots=True)
class Tool:
    """A tuning tool whose configurations are imported: its name, and keys of which its files have some."""

    name: str
    keys: frozenset[str]  # that no other tool here has
    least: int = 1  # so many of them tell it


def _tool(name: str, keys: str, *, least: int = 1) -> Tool:
    return Tool(name, frozenset(keys.split()), least)


# In this order: LLaMA-Factory and TRL share the arguments of transformers, which stand last.
TOOLS = (
    _tool("LLaMA-Factory v1", "model_class dist_config kernel_config peft_config train_dataset", least=2),
    _tool("LLaMA-Factory", "finetuning_type stage cutoff_len lora_target dataset_dir template lora_rank", least=2),
    _tool("Axolotl", "base_model micro_batch_size sequence_len num_epochs val_set_size adapter", least=2),
    _tool("torchtune", "checkpointer tokenizer metric_logger _component_", least=2),
    _tool(
        "MLX", "fine_tune_type lora_parameters iters num_layers lora_layers steps_per_eval adapter_path", least=2
    ),
    _tool(
        "TRL",
        "model_name_or_path dataset_name use_peft lora_r lora_target_modules per_device_train_batch_size "
        "gradient_accumulation_steps num_train_epochs lr_scheduler_type learning_rate output_dir max_length",
        least=2,
    ),
)
UNSLOTH = "Unsloth"  # a notebook or a script, known by its calls
SCRIPTS = (".ipynb", ".py")
_OURS = frozenset({"trial", "arms"})


def recognised(content: Mapping[str, Any]) -> Tool | None:
    """The tool whose keys these are; None for a trial file, and for what nobody here knows."""
    keys = {str(key) for key in content}
    if keys & _OURS:
        return None
    return next((tool for tool in TOOLS if len(keys & tool.keys) >= tool.least), None)


def refuse_foreign(content: Mapping[str, Any], *, origin: str) -> None:
    """Raise UserError, with the command that imports it, where this is another tool's configuration."""
    tool = recognised(content)
    if tool is not None:
        raise UserError(
            f"{origin} is a configuration of {tool.name}, not a trial file",
            fix=f"`finetrial import {origin}` makes a trial file of it, with that run as an arm.",
        )


def foreign_script(path: Path) -> UserError:
    """The error for a script or notebook that was given as a trial."""
    return UserError(
        f"{path} is a {'notebook' if path.suffix == '.ipynb' else 'script'}, not a trial file",
        fix=f"If it tunes with {UNSLOTH}, `finetrial import {path}` makes a trial file of its arguments.",
    )
