"""The matrices that a way of tuning touches, and the parameters that it trains and stores.

Targets are roles (q, k, v, o, gate, up, down) or a module's own name (`c_attn`, `attn.c_proj`, `lm_head`), matched
as PEFT matches them: the whole name, or its end after a dot; or `all-linear`, every linear module of the layers.
A role inside a fused linear is an adapter of its own: on GPT-2's c_attn (d -> 3d) the targets q and v are two
adapters d -> d, as in Hu et al. 2021, where the target c_attn is one adapter d -> 3d over q, k and v together. On
experts, every expert has its own adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError, nearest
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.structure import Linear, Shape

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
ALL_LINEAR = "all-linear"  # PEFT's word: a fused matrix gets one adapter, experts' tensors and routers none


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
class Target:
    """One matrix, or one role's rows of a fused matrix, in every layer it is tuned in."""

    name: str  # as the user wrote it
    linear: Linear
    roles: tuple[str, ...]  # the roles covered
    start: int  # first output row of a fused linear that is covered
    inputs: int
    outputs: int
    layers: tuple[int, ...]  # empty for the head, which stands above the layers

    @property
    def whole(self) -> bool:
        """False when only some rows of a fused linear are covered."""
        return self.outputs == self.linear.outputs

    @property
    def matrices(self) -> int:
        """How many matrices of this size there are: layers times experts."""
        return max(len(self.layers), 1) * self.linear.copies

    @property
    def active_matrices(self) -> int:
        """How many of them one token passes."""
        return max(len(self.layers), 1) * self.linear.active

    def module_names(self, shape: Shape) -> tuple[str, ...]:
        """The modules' full names in the transformers model."""
        if not self.layers:
            return (self.linear.path,)
        return tuple(f"{shape.layer_path.format(layer=layer)}.{self.linear.path}" for layer in self.layers)


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


def target_names(shape: Shape) -> tuple[str, ...]:
    """What may be named as a target of this shape: its roles, then its modules' own names."""
    linears = [linear for layer in shape.layers for linear in layer.linears]
    roles = {role for linear in linears for role in linear.roles}
    ends = {linear.path.rsplit(".", 1)[-1]: None for linear in (*linears, shape.head)}
    return (*(role for role in ROLES if role in roles), *(end for end in ends if end not in roles), ALL_LINEAR)


def resolve_targets(
    shape: Shape, *, targets: Iterable[str], layers: Sequence[int] | None = None
) -> tuple[Target, ...]:
    """The matrices that `targets` name, one entry for each matrix of a layer (or for the head).

    `layers` keeps only those layers. Raises UserError, naming what exists, for a target that the shape does not
    have, for two targets that cover the same rows, for none at all, and for a layer that does not exist.
    """
    names = tuple(targets)
    if not names or isinstance(targets, str):
        raise UserError("no target is named", got=repr(targets), expected=_expected(shape))
    chosen = _chosen_layers(shape, layers)
    found: list[Target] = []
    for name in names:
        matches = _matches(shape, name=name, layers=chosen)
        if not matches:
            close = nearest(name, target_names(shape))
            raise UserError(
                f"{shape.name} ({shape.architecture}) has no target {name!r}",
                expected=_expected(shape),
                fix=f"Did you mean {close!r}?" if close else None,
            )
        for match in matches:
            for other in found:
                if match.linear.path == other.linear.path and set(match.roles) & set(other.roles):
                    raise UserError(
                        f"two targets cover the same matrix {match.linear.path}",
                        got=f"{other.name!r} and {match.name!r}",
                        fix="Name one of them.",
                    )
        found += matches
    return tuple(found)


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


def _expected(shape: Shape) -> str:
    return "some of " + ", ".join(target_names(shape))


def _chosen_layers(shape: Shape, layers: Sequence[int] | None) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(shape.depth))
    wrong = [layer for layer in layers if not 0 <= layer < shape.depth]
    if wrong or not layers:
        raise UserError(
            f"{shape.name} has no such layer" if wrong else "no layer is named",
            got=", ".join(map(str, wrong)) or None,
            expected=f"layers from 0 to {shape.depth - 1}",
        )
    return tuple(sorted(set(layers)))


def _covered(linear: Linear, name: str) -> tuple[str, ...]:
    """The roles of `linear` that `name` covers: one as a role, all by the module's own name, else none."""
    if name == ALL_LINEAR:
        is_module = linear.copies == 1 and "head" not in linear.roles
        is_router = linear.roles == ("router",) and linear.outputs > 1  # a parameter of its own, no linear module
        return linear.roles if is_module and not is_router else ()
    if name in ROLES:
        return (name,) if name in linear.roles else ()
    return linear.roles if linear.path == name or linear.path.endswith("." + name) else ()


def _matches(shape: Shape, *, name: str, layers: tuple[int, ...]) -> list[Target]:
    where: dict[Linear, list[int]] = {}
    for layer in layers:
        for linear in shape.layers[layer].linears:
            if _covered(linear, name):
                where.setdefault(linear, []).append(layer)
    if _covered(shape.head, name):
        where[shape.head] = []
    return [
        Target(
            name=name,
            linear=linear,
            roles=(roles := _covered(linear, name)),
            start=linear.start_of(roles[0]),
            inputs=linear.inputs,
            outputs=sum(linear.widths[linear.roles.index(role)] for role in roles),
            layers=tuple(found),
        )
        for linear, found in where.items()
    ]
