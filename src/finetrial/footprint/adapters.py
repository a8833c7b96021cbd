"""Count the parameters that a way of tuning trains and stores: everything, some matrices, or adapters.

A role inside a fused linear is an adapter of its own, and on experts every expert has its own adapter; which
matrices a target means is `targets`' to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.structure import Shape
from finetrial.footprint.targets import Target, resolve_targets


@dataclass(frozen=True)
class Full:
    """Every parameter is trained and stored."""


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Only the weight matrices of the targets are trained and stored, without their biases."""

    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None  # None: every layer


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters W + B A on the targets, A: rank x inputs, B: outputs x rank (Hu et al. 2021, eq. 3)."""

    rank: int
    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise UserError(
                "a LoRA's rank is impossible", got=repr(self.rank), expected="a whole number above zero"
            )


Method = Full | Matrices | Lora


@dataclass(frozen=True, kw_only=True)
class TargetCount:
    target: Target
    params: int


@dataclass(frozen=True, kw_only=True)
class AdapterCount:
    """Parameters of the adapters: `total` as stored, `active` as one token meets them (experts routed to)."""

    rank: int
    total: int
    active: int
    per_target: tuple[TargetCount, ...]


def lora_parameters(
    shape: Shape, *, rank: int, targets: Iterable[str], layers: Sequence[int] | None = None
) -> AdapterCount:
    """Count LoRA parameters: rank x (inputs + outputs) for each matrix (Hu et al. 2021, section 4.2)."""
    method = Lora(rank=rank, targets=tuple(targets), layers=None if layers is None else tuple(layers))
    resolved = resolve_targets(shape, targets=method.targets, layers=method.layers)
    counts = tuple(TargetCount(target=t, params=rank * (t.inputs + t.outputs) * t.matrices) for t in resolved)
    return AdapterCount(
        rank=rank,
        total=sum(count.params for count in counts),
        active=sum(rank * (t.inputs + t.outputs) * t.active_matrices for t in resolved),
        per_target=counts,
    )


def matrix_parameters(shape: Shape, *, targets: Iterable[str], layers: Sequence[int] | None = None) -> int:
    """Count the targets' weight matrices themselves, without biases."""
    resolved = resolve_targets(shape, targets=targets, layers=layers)
    return sum(t.inputs * t.outputs * t.matrices for t in resolved)


def trained_parameters(shape: Shape, *, method: Method) -> int:
    """How many parameters the method trains, which are those that a task's copy stores."""
    match method:
        case Full():
            return count_parameters(shape).total
        case Matrices(targets=targets, layers=layers):
            return matrix_parameters(shape, targets=targets, layers=layers)
        case Lora(rank=rank, targets=targets, layers=layers):
            return lora_parameters(shape, rank=rank, targets=targets, layers=layers).total
