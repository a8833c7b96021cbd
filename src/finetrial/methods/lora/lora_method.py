"""Low-rank adapters W + (alpha / rank) B A on the targets (Hu et al. 2021, eq. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from finetrial.footprint.beside import Lora as LowRank
from finetrial.methods.learning_rates import lora_learning_rate
from finetrial.methods.method import Targets, TunedMethod
from finetrial.units import listing


class Lora(TunedMethod):
    """Train low-rank adapters beside frozen matrices. `alpha` counts for one projection of a fused matrix."""

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    torch_half: ClassVar[str] = "finetrial.methods.lora.lora_torch"
    paper_keys: ClassVar[tuple[str, ...] | None] = ("rank", "targets")

    rank: int = Field(8, ge=1)
    targets: Targets = ("q", "v")
    alpha: float | None = Field(None, gt=0)  # None: 2 x rank
    dropout: float = Field(0.0, ge=0, lt=1)
    dora: bool = False  # weight-decomposed (Liu et al. 2024)
    rank_stabilised: bool = False  # alpha / sqrt(rank) instead of alpha / rank
    quantize: Literal["nf4"] | None = None  # the frozen base in four bits (QLoRA)

    @property
    def scaling_alpha(self) -> float:
        """Alpha: given, or twice the rank."""
        return 2.0 * self.rank if self.alpha is None else self.alpha

    def describe(self, keys: Mapping[str, Any]) -> str:
        name = "DoRA" if self.dora else self.title
        text = f"{name}, rank {self.rank} on {listing(self.targets)}, alpha {self.scaling_alpha:g}"
        return f"{text}, base in {self.quantize}" if self.quantize else text

    def default_learning_rate(self, width: int) -> float:
        return lora_learning_rate(width)

    def counted(self) -> LowRank:
        return LowRank(rank=self.rank, targets=self.targets)

    @property
    def named_targets(self) -> tuple[str, ...]:
        return self.targets

    @property
    def base_bits(self) -> str | None:
        return self.quantize
