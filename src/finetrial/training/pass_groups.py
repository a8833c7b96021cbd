"""Say which training tasks may share their passes: LoRA arms on one frozen base, with the same rows in one order.

What they train, and how their optimizers step, may differ; what decides which tokens pass when may not.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.methods.lora.lora_method import Lora
from finetrial.training.task import TuneTask

# What must be alike, the quickest to compare first. Rates, schedules, optimizers, ranks and targets may differ.
_ALIKE = (
    ("seed", "the order of the rows"),
    ("epochs", "its epochs"),
    ("batch_tokens", "its batch"),
    ("model", "its base"),
    ("revision", "its base"),
    ("model_hash", "its base"),
    ("trust_remote_code", "its base"),
    ("precision", "its precision"),
    ("device", "its device"),
    ("checkpointing", "its recomputation"),
    ("evaluations", "its evaluations"),
    ("early_stopping", "its evaluations"),
    ("train", "its rows"),
    ("validation", "its validation rows"),
)


def why_alone(task: TuneTask) -> str | None:
    """Why a task shares passes with no other; None where it may."""
    method = task.method
    if not isinstance(method, Lora):
        return f"it is tuned by {method.title}"
    if method.dora:
        return "DoRA needs the norms of its own weights"
    if method.quantize is not None:
        return "its base is in four bits"
    if method.dropout or task.model_dropout:
        return "dropout draws its random numbers as the arm alone draws them"
    if task.special_tokens:
        return "new tokens change the embedding"
    return None


def why_apart(one: TuneTask, other: TuneTask) -> str | None:
    """What keeps two tasks, each of which may share passes, from sharing them; None where nothing does."""
    for key, words in _ALIKE:
        if getattr(one, key) != getattr(other, key):
            return words
    return None


def pass_groups(tasks: Sequence[TuneTask]) -> list[list[int]]:
    """The places of the tasks that may share their passes, group by group; one that shares with none is alone."""
    groups: list[list[int]] = []
    for place, task in enumerate(tasks):
        if why_alone(task) is None:
            for group in groups:
                first = tasks[group[0]]
                if why_alone(first) is None and why_apart(first, task) is None:
                    group.append(place)
                    break
            else:
                groups.append([place])
        else:
            groups.append([place])
    return groups
