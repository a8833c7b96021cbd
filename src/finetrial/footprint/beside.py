"""Define what a method trains beside frozen matrices, as counting sees it; LoRA is the one that stands here.

Any other method gives its own `Beside`: for one matrix, the parameters that it trains and keeps, and the products
that they cost. Counting, FLOPs and memory read nothing else of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.footprint.structure import Linear
from finetrial.footprint.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """The multiplications with additions that one token costs beside a matrix, none of them elementwise."""

    forward: int = 0
    on_the_way: int = 0  # backward: the gradients that what is trained needs, wherever it stands
    to_input: int = 0  # backward, besides: on to the matrix's input, where something below asks for it
    weights: int = 0  # backward: the gradients of what is trained

    def __add__(self, other: Products) -> Products:
        return Products(
            forward=self.forward + other.forward,
            on_the_way=self.on_the_way + other.on_the_way,
            to_input=self.to_input + other.to_input,
            weights=self.weights + other.weights,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """What stands beside one matrix."""

    trained: tuple[int, ...]  # parameters, of each target
    stands: tuple[Matrix, ...]  # the trained parameters as they stand in memory, entries that never move included
    products: tuple[Products, ...]  # of each target
    masked: int = 0  # entries of what stands that lie under a float32 mask
    scales_input: bool = False  # the matrix's input is changed, so that its gradient is wanted in any case
    kept: tuple[int, ...] = ()  # numbers a token that a plain module keeps for backward beside the matrix's input
    made: int = 0  # numbers a token that it makes on the way and lets go


class Beside(ABC):
    """A method that trains something beside frozen matrices."""

    targets: tuple[str, ...]
    layers: tuple[int, ...] | None  # None: every layer

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is: `LoRA of rank 4`."""

    @abstractmethod
    def on(self, linear: Linear, targets: Sequence[Target]) -> Addition:
        """What stands beside `linear`, of which `targets` cover rows; of experts, beside one of them."""

    def formula(self, target: Target) -> tuple[str, str, str, str | None]:
        """How a target's trained parameters are counted: words, LaTeX, the values put in, and the source."""
        each = self.on(target.linear, (target,)).trained[0]
        return "matrices x parameters of each", r"n\, N_1", f"{each:,}", None


@dataclass(frozen=True, kw_only=True)
class Lora(Beside):
    """Low-rank adapters W + B A on the targets, A: rank x inputs, B: outputs x rank (Hu et al. 2021, eq. 3).

    The targets inside a fused matrix share one A and one B in memory; B is as high as the whole matrix, with zeros
    that are never trained.
    """

    rank: int
    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise UserError("invalid LoRA rank", got=repr(self.rank), expected="a whole number above zero")

    @property
    def words(self) -> str:
        return f"LoRA of rank {self.rank}"

    def on(self, linear: Linear, targets: Sequence[Target]) -> Addition:
        rank = self.rank * len(targets)
        is_whole = len(targets) == 1 and targets[0].whole
        return Addition(
            trained=tuple(self.rank * (t.inputs + t.outputs) for t in targets),
            stands=(Matrix(rank, linear.inputs), Matrix(linear.outputs, rank)),
            products=tuple(self._products(t) for t in targets),
            masked=0 if is_whole else linear.outputs * rank,
            kept=(rank,),
            made=2 * linear.outputs,
        )

    def _products(self, target: Target) -> Products:
        down, up = self.rank * target.inputs, self.rank * target.outputs  # A x, and B (A x)
        return Products(forward=down + up, on_the_way=up, to_input=down, weights=up + down)

    def formula(self, target: Target) -> tuple[str, str, str, str | None]:
        values = f"{self.rank} x ({target.inputs:,} + {target.outputs:,})"
        latex = r"n\, r\, (d_\mathrm{in} + d_\mathrm{out})"
        return "matrices x rank x (d_in + d_out)", latex, values, "Hu et al. 2021, section 4.2"
