"""Define what an importer finds in a configuration: a model, its data, one arm and how it is tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.imports.given import Given

ROLES = {
    **{f"{role}_proj": role for role in ("q", "k", "v", "o", "gate", "up", "down")},
    "output_proj": "o",
}
ALL = ("q", "k", "v", "o", "gate", "up", "down")
_ALL_WORDS = ("all", "all-linear", "all_linear")

_OPTIMIZERS = {
    **dict.fromkeys(
        ("adamw", "adamw_torch", "adamw_torch_fused", "adamw_hf", "adam", "paged_adamw_32bit"), "adamw"
    ),
    **dict.fromkeys(
        ("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit", "pagedadamw8bit", "adamw8bit"), "adamw8bit"
    ),
    "adafactor": "adafactor",
    "sgd": "sgd",
}
_SCHEDULES = {
    **dict.fromkeys(("linear", "linear_schedule"), "linear"),
    **dict.fromkeys(("cosine", "cosine_decay", "get_cosine_schedule_with_warmup"), "cosine"),
    **dict.fromkeys(("constant", "constant_with_warmup"), "constant"),
}


@dataclass(slots=True)
class ImportedRun:
    """One run of another tool, in the words of a trial file. None: the configuration does not say."""

    tool: str
    given: Given
    model: str | None = None
    data: dict[str, Any] = field(default_factory=dict)  # keys of `data`
    arm: dict[str, Any] = field(default_factory=dict)  # keys of the arm
    training: dict[str, Any] = field(default_factory=dict)  # keys of `training`
    batch_rows: int = 1  # rows of an optimizer step, all devices but one left out
    warmup_steps: int | None = None
    max_steps: int | None = None
    validation_share: float | None = None
    no_data: str | None = None  # what it names instead of data that a trial reads
    trust_remote_code: bool = False
    notes: list[str] = field(default_factory=list)  # what is done otherwise here, in words

    @property
    def arm_name(self) -> str:
        return str(self.arm.get("method", "full"))


def optimizer_of(name: Any) -> str | None:
    """Our name of an optimizer; None where there is none like it."""
    return _OPTIMIZERS.get(str(name).rpartition(".")[2].lower())


def schedule_of(name: Any) -> str | None:
    """Our name of a learning-rate schedule; None where there is none like it."""
    return _SCHEDULES.get(str(name).rpartition(".")[2].lower())


def targets_of(value: Any) -> Any:
    """Target modules by role where they have one: q for q_proj, `all-linear` for all."""
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    if len(names) == 1 and names[0] in _ALL_WORDS:
        return "all-linear"
    short = [str(name).rpartition(".")[2] for name in names]
    return [ROLES.get(last, str(name)) for last, name in zip(short, names, strict=True)]


def find_file(name: str, *, near: Sequence[Path]) -> Path | None:
    """A file or folder of this name beside the configuration or in the current folder."""
    for folder in near:
        path = folder / Path(name).expanduser()
        if path.exists():
            return path.resolve()
    return None


def refuse_stage(tool: str, what: str) -> UserError:
    """The error for a run that is no supervised tuning."""
    return UserError(
        f"this run of {tool} is no supervised tuning, which is what a trial compares",
        got=what,
        expected="a run on prompts and completions, or chats",
        fix="Tune there, and give what came out as an arm: `mine: {adapter: FOLDER}`.",
    )


def merged(data: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that have a value."""
    return {key: value for key, value in data.items() if value is not None}
