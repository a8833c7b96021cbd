"""A PEFT configuration given as it is, for whatever peft has that sits in a model's modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import field_validator

from finetrial.methods.learning_rates import lora_learning_rate
from finetrial.methods.method import TunedMethod


class FromPeft(TunedMethod):
    """Train what peft makes of `config`: its `peft_type`, and that type's own settings under peft's names."""

    name: ClassVar[str] = "peft"
    title: ClassVar[str] = "PEFT"
    torch_half: ClassVar[str] = "finetrial.methods.from_peft.from_peft_torch"

    config: Mapping[str, Any]

    @field_validator("config")
    @classmethod
    def _names_its_type(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(value.get("peft_type"), str):
            raise ValueError(
                "needs a `peft_type`, such as {peft_type: LOHA, r: 8, target_modules: [q_proj, v_proj]}"
            )
        return value

    @property
    def peft_type(self) -> str:
        """The type by peft's name, in capitals."""
        return str(self.config["peft_type"]).upper()

    def describe(self, keys: Mapping[str, Any]) -> str:
        settings = ", ".join(f"{key} {_shown(value)}" for key, value in self.config.items() if key != "peft_type")
        return f"{self.title}'s {self.peft_type}" + (f", {settings}" if settings else "")

    def default_learning_rate(self, width: int) -> float:
        """LoRA's: an assumption, for peft's adapters have no rule in common."""
        return lora_learning_rate(width)

    def counted(self) -> None:
        """Nothing is known of it on paper."""


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
