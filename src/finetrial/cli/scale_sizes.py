"""The sizes that one command asks about: numbers, models known by name, and those grown by a factor."""

from __future__ import annotations

from typing import Annotated

import typer

from finetrial.api.law_inputs import Size, size_of
from finetrial.errors import UserError
from finetrial.scaling.laws import Law
from finetrial.units import parse_count

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


def read_sizes(text: str, *, law: Law, grow: tuple[float, ...] = ()) -> tuple[Size, ...]:
    """The sizes of --params in their order, each followed by its multiples of --grow."""
    sizes: list[Size] = []
    for part in text.split(","):
        one = size_of(part.strip(), law=law)
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
