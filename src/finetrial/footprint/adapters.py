"""Count the parameters that a way of tuning trains and stores: everything, some matrices, or adapters.

A role inside a fused linear is an adapter of its own, and on experts every expert has its own adapter; which
matrices a target means is `targets`' to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.footprint.beside import Addition, Beside, Lora
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.structure import Linear, Shape
from finetrial.footprint.targets import Target, resolve_targets


@dataclass(frozen=True)
class Full:
    """Every parameter is trained and stored."""


@dataclass(frozen=True, kw_only=True)
class Matrices:
    """Only the weight matrices of the targets are trained and stored, without their biases."""

    targets: tuple[str, ...]
    layers: tuple[int, ...] | None = None  # None: every layer


Method = Full | Matrices | Beside


@dataclass(frozen=True)
class Trained:
    """What a method trains, looked up by linear: everything, rows of matrices, or something beside them."""

    method: Method
    targets: tuple[Target, ...]

    def on(self, linear: Linear, layer: int | None) -> list[Target]:
        return [
            t
            for t in self.targets
            if t.linear == linear and (layer in t.layers or (layer is None and not t.layers))
        ]

    def roles(self, linear: Linear, layer: int | None) -> frozenset[str]:
        """The roles whose outputs depend on something trained in this very linear."""
        if isinstance(self.method, Full):
            return frozenset(linear.roles)
        return frozenset(role for target in self.on(linear, layer) for role in target.roles)

    def addition(self, linear: Linear, layer: int | None) -> Addition | None:
        """What stands beside this linear; None: nothing."""
        targets = self.on(linear, layer)
        return self.method.on(linear, targets) if isinstance(self.method, Beside) and targets else None


def trained_of(shape: Shape, method: Method) -> Trained:
    """What the method trains of a shape. Raises UserError for a target that the shape does not have."""
    if isinstance(method, Full):
        return Trained(method, ())
    return Trained(method, resolve_targets(shape, targets=method.targets, layers=method.layers))


def additions(shape: Shape, method: Beside) -> list[tuple[Linear, tuple[Target, ...], Addition]]:
    """What stands beside every matrix of a shape that has something beside it, from the lowest layer up."""
    trained = trained_of(shape, method)
    places = [(linear, index) for index, layer in enumerate(shape.layers) for linear in layer.linears]
    return [
        (linear, tuple(trained.on(linear, layer)), addition)
        for linear, layer in (*places, (shape.head, None))
        if (addition := trained.addition(linear, layer)) is not None
    ]


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
        case Beside():
            return sum(sum(found.trained) * linear.copies for linear, _, found in additions(shape, method))
