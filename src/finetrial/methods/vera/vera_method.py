"""VeRA: W + diag(b) B diag(d) A with random A and B that all matrices share; only b and d are trained.

Kopiczko et al. 2024, "VeRA: Vector-based Random Matrix Adaptation", section 3.1. A [rank, inputs] and B [outputs,
rank] are as large as the largest target and cut for the others. They follow from the seed, so they need not be
stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from finetrial.footprint.beside import Addition, Beside, Products
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.footprint.structure import Linear
from finetrial.footprint.targets import Target
from finetrial.methods.learning_rates import lora_learning_rate
from finetrial.methods.method import Targets, TunedMethod
from finetrial.units import listing

# Kopiczko et al. 2024, appendix A, tune VeRA's vectors at rates of about ten times LoRA's
_FACTOR = 10.0


@dataclass(frozen=True, kw_only=True)
class SharedProjections(Beside):
    """A vector of `rank` numbers for each matrix, and one number for each output that a target covers.

    The targets inside a fused matrix share the first vector, which counts with the first of them, and the product
    with A.
    """

    rank: int
    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None

    @property
    def words(self) -> str:
        return f"VeRA of rank {self.rank}"

    def on(self, linear: Linear, targets: Sequence[Target]) -> Addition:
        covered = [t.outputs for t in targets]
        return Addition(
            trained=tuple(width + (self.rank if i == 0 else 0) for i, width in enumerate(covered)),
            stands=(Matrix(1, self.rank), Matrix(1, linear.outputs)),
            products=tuple(self._products(t, first=i == 0) for i, t in enumerate(targets)),
            masked=0 if sum(covered) == linear.outputs else linear.outputs,
            kept=(self.rank, self.rank),
        )

    def _products(self, target: Target, *, first: bool) -> Products:
        down, up = self.rank * target.inputs if first else 0, self.rank * target.outputs
        return Products(forward=down + up, on_the_way=up, to_input=down)  # A and B have no gradients

    def formula(self, target: Target) -> tuple[str, str, str, str | None]:
        source = "Kopiczko et al. 2024, section 3.2"
        return (
            "matrices x (rank + d_out)",
            r"n\, (r + d_\mathrm{out})",
            f"({self.rank} + {target.outputs:,})",
            source,
        )


class Vera(TunedMethod):
    """Train vectors between random projections that all targets share."""

    name: ClassVar[str] = "vera"
    title: ClassVar[str] = "VeRA"
    torch_half: ClassVar[str] = "finetrial.methods.vera.vera_torch"
    paper_keys: ClassVar[tuple[str, ...] | None] = ("rank", "targets")

    rank: int = Field(256, ge=1)
    targets: Targets = ("q", "v")
    dropout: float = Field(0.0, ge=0, lt=1)
    save_projection: bool = False  # store A and B too, for a reader whose random numbers may differ

    def describe(self, keys: Mapping[str, Any]) -> str:
        return f"{self.title}, rank {self.rank} on {listing(self.targets)}"

    def default_learning_rate(self, width: int) -> float:
        return _FACTOR * lora_learning_rate(width)

    def counted(self) -> SharedProjections:
        return SharedProjections(rank=self.rank, targets=self.targets)

    @property
    def named_targets(self) -> tuple[str, ...]:
        return self.targets
