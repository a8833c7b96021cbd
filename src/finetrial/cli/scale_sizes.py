"""The sizes that one command asks about: numbers, models known by name, and those grown by a factor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from finetrial.cli.scale_inputs import count
from finetrial.errors import UserError
from finetrial.scaling.laws import DataLimitedLaw, Law
from finetrial.units import format_count, parse_count

SizesOption = Annotated[
    str,
    typer.Option(
        "--params",
        help="Parameters, as 67B, or a model as `footprint` knows it, as gpt3-175b; several with commas.",
        metavar="N",
    ),
]
GrowOption = Annotated[
    str | None,
    typer.Option("--grow", help="Ask for so many times the size too, as 1.41; several with commas.", metavar="X"),
]
_MOST = 1e6  # assumption: a slip of the pen beyond


@dataclass(frozen=True)
class Size:
    """One size asked about."""

    label: str
    params: float
    note: str | None = None


def read_sizes(text: str, *, law: Law, grow: tuple[float, ...] = ()) -> tuple[Size, ...]:
    """The sizes of --params in their order, each followed by its multiples of --grow."""
    sizes: list[Size] = []
    for part in text.split(","):
        one = _size(part.strip(), law=law)
        sizes.append(one)
        sizes += [Size(f"{factor:g} x {one.label}", factor * one.params) for factor in grow]
    return tuple(sizes)


def read_grow(text: str | None) -> tuple[float, ...]:
    """The factors of --grow."""
    if text is None:
        return ()
    factors = tuple(parse_count(part.strip(), what="--grow") for part in text.split(","))
    if any(not 1 / _MOST <= factor <= _MOST for factor in factors):
        raise UserError("--grow is out of range", got=repr(text), expected="a factor such as 1.41, or 1.41,2")
    return factors


def sizes_note(sizes: tuple[Size, ...]) -> list[str]:
    return [size.note for size in sizes if size.note is not None]


def _size(text: str, *, law: Law) -> Size:
    if not text:
        raise UserError("--params names no size", expected="a count such as 67B, or a model such as gpt3-175b")
    if text[0].isdigit() or text[0] in "+-.":
        params = count(text, "--params")
        return Size(format_count(params), params)
    from finetrial.api.model_shape import load_shape
    from finetrial.footprint.parameters import count_parameters

    shape = load_shape(text)
    counted = count_parameters(shape)
    if counted.active != counted.total:
        raise UserError(
            f"{shape.name} is a mixture of experts, and the laws are of dense models",
            got=f"{format_count(counted.total)} parameters, {format_count(counted.active)} of them for a token",
            fix=f"Give the number you mean: --params {format_count(counted.active)}.",
        )
    params, which = counted.total, "counted from its shape"
    if isinstance(law, DataLimitedLaw):
        params -= counted.embedding + counted.positions + counted.head
        which = f"without embeddings, as {law.name} counts"
    published = "" if shape.published is None else f"; published as {format_count(shape.published.params)}"
    return Size(shape.name, float(params), f"{shape.name}: {params:,} parameters, {which}{published}")
