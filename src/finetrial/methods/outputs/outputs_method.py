"""Answers that stand in a file: of another system, of people, of an earlier trial."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from finetrial.methods.method import Method, NonEmpty

SAMPLER = "outputs"  # the sampler that reads them


class Outputs(Method):
    """A file of prompts and answers, joined to the trial's held-out prompts."""

    name: ClassVar[str] = "outputs"
    title: ClassVar[str] = "answers from a file"
    is_from_elsewhere: ClassVar[bool] = True
    is_answered_elsewhere: ClassVar[bool] = True

    outputs: NonEmpty  # a file of outputs, or another tool's log

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        return bool(keys.get("outputs"))

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        refuse_keys(keys, "template prompt_file chat system stop shots precision from", of="answers from a file")

    def describe(self, keys: Mapping[str, Any]) -> str:
        return f"{self.title}: {Path(self.outputs).name}"

    @property
    def answers_file(self) -> str | None:
        return self.outputs

    @property
    def sampler(self) -> str | None:
        return SAMPLER


def refuse_keys(keys: Mapping[str, Any], names: str, *, of: str) -> None:
    """Raise ValueError where an arm has any of these keys."""
    for key in names.split():
        if keys.get(key) is not None:
            raise ValueError(f"an arm of {of} takes no `{key}`: nothing is shown to it here")
