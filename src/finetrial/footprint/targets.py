"""Resolve the names of targets to matrices: the one place where they are read.

A target is a role (q, k, v, o, gate, up, down), a module's own name (`c_attn`, `attn.c_proj`, `lm_head`), matched
as PEFT matches it: the whole name, or its end after a dot; or `all-linear`, every linear module of the layers. A
role inside a fused matrix means its own output rows and no others: on GPT-2's c_attn (d -> 3d) the targets q and v
are two matrices d -> d, as in Hu et al. 2021, where the target c_attn is one of d -> 3d. Two names of the same rows
(q and q_proj) are one target.

Counting resolves against a shape (`matrices_of`), training and checking against the modules of a model; either is a
list of matrices with their full names, and one function reads the names against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError, nearest
from finetrial.footprint.structure import Linear, Rows, Shape

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
ALL_LINEAR = "all-linear"  # PEFT's word: a fused matrix counts as one, experts' tensors and routers not at all


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMatrix:
    """A matrix of a model under its full name, with what its outputs are for."""

    name: str
    linear: Linear
    layer: int | None = None  # None: the head, or a module outside the layers
    is_module: bool = True  # False: no linear module of a layer, so that `all-linear` leaves it out


@dataclass(frozen=True, kw_only=True)
class Target:
    """One matrix, or one role's rows of a fused matrix, in every layer it is tuned in."""

    name: str  # as the user wrote it
    linear: Linear
    roles: tuple[str, ...]  # the roles covered
    rows: Rows  # the output rows covered
    inputs: int
    layers: tuple[int, ...]  # empty for the head, which stands above the layers
    modules: tuple[str, ...]  # the modules' full names, in the order of the layers

    @property
    def outputs(self) -> int:
        return self.rows.count

    @property
    def whole(self) -> bool:
        """False when only some rows of a fused linear are covered."""
        return self.outputs == self.linear.outputs

    @property
    def matrices(self) -> int:
        """How many matrices of this size there are: layers times experts."""
        return len(self.modules) * self.linear.copies

    @property
    def active_matrices(self) -> int:
        """How many of them one token passes."""
        return len(self.modules) * self.linear.active


def matrices_of(shape: Shape) -> tuple[NamedMatrix, ...]:
    """The matrices of a shape, layer by layer, and its head."""
    found = [
        NamedMatrix(
            name=f"{shape.layer_path.format(layer=index)}.{linear.path}",
            linear=linear,
            layer=index,
            is_module=linear.copies == 1 and not _is_router(linear),
        )
        for index, layer in enumerate(shape.layers)
        for linear in layer.linears
    ]
    return (*found, NamedMatrix(name=shape.head.path, linear=shape.head, is_module=False))


def _is_router(linear: Linear) -> bool:
    return linear.roles == ("router",) and linear.outputs > 1  # a parameter of its own, no linear module


def target_names(matrices: Iterable[NamedMatrix]) -> tuple[str, ...]:
    """What may be named as a target: the roles there are, then the modules' own names."""
    linears = [matrix.linear for matrix in matrices]
    roles = {role for linear in linears for role in linear.roles}
    ends = {linear.path.rsplit(".", 1)[-1]: None for linear in linears}
    return (*(role for role in ROLES if role in roles), *(end for end in ends if end not in roles), ALL_LINEAR)


def resolve(matrices: Sequence[NamedMatrix], *, targets: Iterable[str], model: str) -> tuple[Target, ...]:
    """The matrices that `targets` name, one entry for each matrix of a layer; `model` names the model in errors.

    A second name of the same rows adds nothing. Raises UserError, naming what exists, for a target that is none of
    the matrices, for two targets of which one covers some of the other's rows, and for none at all.
    """
    names = tuple(targets)
    expected = "some of " + ", ".join(target_names(matrices))
    if not names or isinstance(targets, str):
        raise UserError("no target is named", got=repr(targets), expected=expected)
    found: list[Target] = []
    taken: dict[str, list[tuple[str, tuple[str, ...]]]] = {}  # by matrix: names that cover it, and which roles
    for name in names:
        matches = [(matrix, roles) for matrix in matrices if (roles := _covered(matrix, name))]
        if not matches:
            close = nearest(name, target_names(matrices))
            raise UserError(
                f"{model} has no target {name!r}",
                expected=expected,
                fix=f"Did you mean {close!r}?" if close else None,
            )
        fresh = []
        for matrix, roles in matches:
            others = taken.setdefault(matrix.name, [])
            if any(other == roles for _, other in others):
                continue
            for other_name, other in others:
                if set(other) & set(roles):
                    raise UserError(
                        f"two targets cover the same matrix {matrix.linear.path}",
                        got=f"{other_name!r} and {name!r}",
                        fix="Name one of them.",
                    )
            others.append((name, roles))
            fresh.append((matrix, roles))
        found += _targets(fresh, name=name)
    return tuple(found)


def resolve_targets(
    shape: Shape, *, targets: Iterable[str], layers: Sequence[int] | None = None
) -> tuple[Target, ...]:
    """The matrices of a shape that `targets` name; `layers` keeps only those layers.

    Raises UserError as `resolve` does, and for a layer that does not exist.
    """
    chosen = _chosen_layers(shape, layers)
    matrices = [m for m in matrices_of(shape) if m.layer is None or m.layer in chosen]
    return resolve(matrices, targets=targets, model=f"{shape.name} ({shape.architecture})")


def _chosen_layers(shape: Shape, layers: Sequence[int] | None) -> frozenset[int]:
    if layers is None:
        return frozenset(range(shape.depth))
    wrong = [layer for layer in layers if not 0 <= layer < shape.depth]
    if wrong or not layers:
        raise UserError(
            f"{shape.name} has no such layer" if wrong else "no layer is named",
            got=", ".join(map(str, wrong)) or None,
            expected=f"layers from 0 to {shape.depth - 1}",
        )
    return frozenset(layers)


def _covered(matrix: NamedMatrix, name: str) -> tuple[str, ...]:
    """The roles that `name` covers: one as a role, all by the module's own name, else none."""
    linear = matrix.linear
    if name == ALL_LINEAR:
        return linear.roles if matrix.is_module else ()
    if name in ROLES:
        return (name,) if name in linear.roles else ()
    return linear.roles if matrix.name == name or matrix.name.endswith("." + name) else ()


def _targets(matches: Iterable[tuple[NamedMatrix, tuple[str, ...]]], *, name: str) -> list[Target]:
    """One target for each kind of matrix that a name covers."""
    where: dict[tuple[Linear, tuple[str, ...]], list[NamedMatrix]] = {}
    for matrix, roles in matches:
        where.setdefault((matrix.linear, roles), []).append(matrix)
    return [
        Target(
            name=name,
            linear=linear,
            roles=roles,
            rows=linear.rows_of(roles),
            inputs=linear.inputs,
            layers=tuple(matrix.layer for matrix in found if matrix.layer is not None),
            modules=tuple(matrix.name for matrix in found),
        )
        for (linear, roles), found in where.items()
    ]
