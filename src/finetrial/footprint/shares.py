"""Count what each of several devices holds of a model that is shared out over them, parameter by parameter.

FSDP2 deals a parameter's rows out in equal chunks, the last ones smaller or empty, and pads every chunk to the size
of the first: a device holds at most ceil(rows / devices) rows. What is gathered at once is a unit: a decoder layer,
or everything that stands outside the layers. Experts are one tensor, dealt out by expert.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from finetrial.footprint.adapters import Full, Method, Trained, trained_of
from finetrial.footprint.beside import Beside
from finetrial.footprint.structure import Layer, Linear, Shape


@dataclass(frozen=True, slots=True)
class Unit:
    """Entries of the parameters that are gathered together. A share is what the first device holds, padding too."""

    trained_share: int
    frozen_share: int
    masked_share: int  # of the trained ones, those of matrices of which only some rows are trained
    devices: int

    @property
    def gathered(self) -> int:
        """All devices' shares together."""
        return self.devices * (self.trained_share + self.frozen_share)

    @property
    def summed(self) -> int:
        """What is summed over the devices, padding too."""
        return self.devices * self.trained_share


@dataclass(frozen=True, slots=True)
class Shares:
    """The units of a model: its layers, and the rest."""

    layers: tuple[Unit, ...]
    rest: Unit

    @property
    def units(self) -> tuple[Unit, ...]:
        return (self.rest, *self.layers)

    @property
    def trained(self) -> int:
        """Entries that a device trains."""
        return sum(unit.trained_share for unit in self.units)

    @property
    def frozen(self) -> int:
        return sum(unit.frozen_share for unit in self.units)

    @property
    def masked(self) -> int:
        return sum(unit.masked_share for unit in self.units)

    @property
    def gathered(self) -> int:
        """Entries that a pass gathers forward."""
        return sum(unit.gathered for unit in self.units)

    @property
    def summed(self) -> int:
        """Entries whose gradients a pass sums over the devices."""
        return sum(unit.summed for unit in self.units)


def shares_of(shape: Shape, method: Method, *, devices: int) -> Shares:
    """What a device holds where `devices` share out a model of which the method trains all, or some matrices."""
    assert not isinstance(method, Beside), "adapters are not shared out"
    trained = trained_of(shape, method)
    return Shares(
        layers=tuple(
            _unit(_of_layer(layer, index, shape=shape, trained=trained, devices=devices), devices=devices)
            for index, layer in enumerate(shape.layers)
        ),
        rest=_unit(_of_rest(shape, trained=trained, devices=devices), devices=devices),
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    """One parameter's share."""

    entries: int
    is_trained: bool
    is_masked: bool = False


def _unit(pieces: Iterator[_Piece], *, devices: int) -> Unit:
    found = tuple(pieces)
    return Unit(
        trained_share=sum(p.entries for p in found if p.is_trained),
        frozen_share=sum(p.entries for p in found if not p.is_trained),
        masked_share=sum(p.entries for p in found if p.is_masked),
        devices=devices,
    )


def share_of(rows: int, columns: int, *, devices: int) -> int:
    """Entries of the largest share of a parameter: ceil(rows / devices) x columns."""
    return -(-rows // devices) * columns


def _of_layer(layer: Layer, index: int, *, shape: Shape, trained: Trained, devices: int) -> Iterator[_Piece]:
    full = isinstance(trained.method, Full)
    for linear in layer.linears:
        yield from _of_linear(linear, layer=index, trained=trained, devices=devices)
    yield _Piece(_vectors(layer.norm_params, width=shape.width, devices=devices), full)


def _of_linear(linear: Linear, *, layer: int | None, trained: Trained, devices: int) -> Iterator[_Piece]:
    full, targets = isinstance(trained.method, Full), trained.on(linear, layer)
    each = linear.inputs * linear.outputs
    if linear.copies > 1:
        entries = share_of(linear.copies, each, devices=devices)
    else:
        entries = share_of(linear.outputs, linear.inputs, devices=devices)
    in_part = bool(targets) and not any(target.whole for target in targets)
    yield _Piece(entries, full or bool(targets), is_masked=not full and in_part)
    if linear.bias:
        yield _Piece(share_of(linear.copies * linear.outputs, 1, devices=devices), full)


def _of_rest(shape: Shape, *, trained: Trained, devices: int) -> Iterator[_Piece]:
    full = isinstance(trained.method, Full)
    yield _Piece(share_of(shape.vocabulary, shape.width, devices=devices), full)
    if shape.position_rows:
        yield _Piece(share_of(shape.position_rows, shape.width, devices=devices), full)
    yield _Piece(_vectors(shape.final_norm_params, width=shape.width, devices=devices), full)
    if not shape.tied_head:
        yield from _of_linear(shape.head, layer=None, trained=trained, devices=devices)
    elif shape.head.bias:
        yield _Piece(share_of(shape.head.outputs, 1, devices=devices), full)


def _vectors(entries: int, *, width: int, devices: int) -> int:
    """Norms' weights and biases, each as wide as the model where that divides."""
    if entries % width:
        return share_of(entries, 1, devices=devices)
    return entries // width * share_of(width, 1, devices=devices)
