"""A model or an adapter that was tuned elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from finetrial.methods.method import Method, NonEmpty


class External(Method):
    """A model folder, GGUF file or hub id, or a PEFT adapter for the trial's model."""

    name: ClassVar[str] = "external"
    title: ClassVar[str] = "tuned elsewhere"
    is_from_elsewhere: ClassVar[bool] = True

    adapter: NonEmpty | None = None  # a PEFT adapter folder
    model: NonEmpty | None = None  # a model folder, GGUF file or hub id
    trained_on: NonEmpty | None = None  # the rows that it was tuned on: a file or hub id; none may be held out

    @classmethod
    def implied_by(cls, keys: Mapping[str, Any]) -> bool:
        return bool(keys.get("model") or keys.get("adapter"))

    @model_validator(mode="after")
    def _one_of_both(self) -> External:
        if bool(self.model) == bool(self.adapter):
            raise ValueError("an external arm names either `model` or `adapter`")
        return self

    def describe(self, keys: Mapping[str, Any]) -> str:
        source = self.adapter or self.model or ""
        shown = Path(source).name or source if source.startswith(("/", ".", "~")) else source
        rows = f", on {Path(self.trained_on).name}" if self.trained_on else ""
        return f"{self.title}{rows}: {shown}"

    @property
    def model_source(self) -> str | None:
        return self.model

    @property
    def adapter_source(self) -> str | None:
        return self.adapter

    @property
    def training_rows(self) -> str | None:
        return self.trained_on
