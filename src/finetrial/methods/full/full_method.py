"""Full tuning: every parameter, or the weight matrices of some targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from finetrial.footprint.adapters import Full as EveryParameter
from finetrial.footprint.adapters import Matrices
from finetrial.methods.learning_rates import full_learning_rate
from finetrial.methods.method import Targets, TunedMethod
from finetrial.units import listing


class Full(TunedMethod):
    """Train every parameter; with `targets`, only those matrices, which are stored as their weights alone."""

    name: ClassVar[str] = "full"
    title: ClassVar[str] = "full tuning"
    torch_half: ClassVar[str] = "finetrial.methods.full.full_torch"
    step_passes: ClassVar[int] = 3
    paper_keys: ClassVar[tuple[str, ...] | None] = ()

    targets: Targets | None = None  # None: every parameter

    def describe(self, keys: Mapping[str, Any]) -> str:
        if self.targets is None:
            return "every parameter tuned"
        return f"the matrices of {listing(self.targets)} tuned, and nothing else"

    def default_learning_rate(self, width: int) -> float:
        return full_learning_rate(width)

    def counted(self) -> EveryParameter | Matrices:
        return EveryParameter() if self.targets is None else Matrices(targets=self.targets)

    @property
    def named_targets(self) -> tuple[str, ...]:
        return self.targets or ()
