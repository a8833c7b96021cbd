"""Full tuning: every parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from finetrial.footprint.adapters import Full as EveryParameter
from finetrial.methods.learning_rates import full_learning_rate
from finetrial.methods.method import TunedMethod


class Full(TunedMethod):
    """Train every parameter."""

    name: ClassVar[str] = "full"
    title: ClassVar[str] = "full tuning"
    torch_half: ClassVar[str] = "finetrial.methods.full.full_torch"

    def describe(self, keys: Mapping[str, Any]) -> str:
        return "every parameter tuned"

    def default_learning_rate(self, width: int) -> float:
        return full_learning_rate(width)

    def counted(self) -> EveryParameter:
        return EveryParameter()
