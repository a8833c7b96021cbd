"""IA3: a learned vector scales each output of the targets, or each input of the MLP's second matrix.

Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
section 3.3: keys, values and the inner activations of the MLP are rescaled, by ones at the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from finetrial.footprint.beside import Addition, Beside, Products
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.footprint.structure import Linear
from finetrial.footprint.targets import Target
from finetrial.methods.method import Targets, TunedMethod
from finetrial.units import listing

_RATE = 3e-3  # Liu et al. 2022, section 3.3, whatever the width
SCALES_INPUT = "down"  # the role whose inputs are scaled


def scales_input(roles: Sequence[str]) -> bool:
    """Whether the vector of a matrix with these roles scales its inputs and not its outputs."""
    return tuple(roles) == (SCALES_INPUT,)


@dataclass(frozen=True, kw_only=True)
class Vectors(Beside):
    """One number for each output that a target covers, or for each input of the MLP's second matrix.

    Scaling is elementwise: no products of its own.
    """

    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None

    @property
    def words(self) -> str:
        return IA3.title

    def on(self, linear: Linear, targets: Sequence[Target]) -> Addition:
        by_input = scales_input(linear.roles)
        width = linear.inputs if by_input else linear.outputs
        covered = tuple(t.inputs if by_input else t.outputs for t in targets)
        return Addition(
            trained=covered,
            stands=(Matrix(1, width),),
            products=(Products(),) * len(targets),
            masked=0 if sum(covered) == width else width,
            scales_input=by_input,
        )

    def formula(self, target: Target) -> tuple[str, str, str, str | None]:
        by_input = scales_input(target.linear.roles)
        side, width = ("d_in", target.inputs) if by_input else ("d_out", target.outputs)
        return f"matrices x {side}", rf"n\, d_\mathrm{{{side[2:]}}}", f"{width:,}", "Liu et al. 2022, section 3.3"


class IA3(TunedMethod):
    """Train vectors that scale outputs or inputs of frozen matrices."""

    name: ClassVar[str] = "ia3"
    title: ClassVar[str] = "IA3"
    torch_half: ClassVar[str] = "finetrial.methods.ia3.ia3_torch"
    paper_keys: ClassVar[tuple[str, ...] | None] = ("targets",)

    targets: Targets = ("k", "v", SCALES_INPUT)

    def describe(self, keys: Mapping[str, Any]) -> str:
        return f"{self.title} on {listing(self.targets)}"

    def default_learning_rate(self, width: int) -> float:
        return _RATE

    def counted(self) -> Vectors:
        return Vectors(targets=self.targets)

    @property
    def named_targets(self) -> tuple[str, ...]:
        return self.targets
