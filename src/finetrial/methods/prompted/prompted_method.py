"""The model with something of its own in the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from finetrial.methods.method import Method
from finetrial.units import listing


class Prompted(Method):
    """The trial's model, shown examples, a template, a prompt file or a system text."""

    name: ClassVar[str] = "prompted"
    title: ClassVar[str] = "examples in the prompt"
    is_a_prompt: ClassVar[bool] = True

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        return bool(keys.get("shots") or keys.get("prompt_file"))

    def check_arm(self, keys: Mapping[str, Any]) -> None:
        if not any(keys.get(key) for key in ("shots", "template", "prompt_file", "system")):
            raise ValueError("a prompted arm needs `shots`, `prompt_file` or a `template` of its own")

    def describe(self, keys: Mapping[str, Any]) -> str:
        shots, file = keys.get("shots"), keys.get("prompt_file")
        parts = [f"{shots} example{'s' * (shots != 1)} in the prompt"] if shots else []
        parts += [f"the prompt of {Path(file).name}"] if file else []
        parts += ["a template of its own"] if keys.get("template") else []
        return f"the model with {listing(parts)}" if parts else "the model with a prompt of its own"
