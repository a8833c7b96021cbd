"""How does a line of material become one of its many wordings?

Syntax: `(a|b|)` chooses one branch, `<name>` asks the scene for a slot. Branches nest. A template is parsed once into
nested tuples and lists and then drawn from many times.
Randomness uses only `random.Random.random()`, whose stream Python promises to keep from version to version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that the scene fills."""

    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Branches of which one is drawn, all equally likely."""

    branches: tuple[Template, ...]


Template = tuple["str | Slot | Choice", ...]


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of `options`, all equally likely."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """`items` in a random order (Fisher-Yates), the same on every Python version."""
    order = list(items)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order


def parse(text: str) -> Template:
    """The template written as `text`. ValueError when a bracket is left open or closes nothing."""
    template, end = _parse_sequence(text, 0, inside=False)
    assert end == len(text), "the outermost sequence reads to the end"
    return template


def slot_names(template: Template) -> frozenset[str]:
    """Every slot that some wording of the template asks for."""
    names: set[str] = set()
    for part in template:
        if isinstance(part, Slot):
            names.add(part.name)
        elif isinstance(part, Choice):
            for branch in part.branches:
                names |= slot_names(branch)
    return frozenset(names)


def wordings(template: Template) -> int:
    """How many ways the choices can fall, slots left aside."""
    count = 1
    for part in template:
        if isinstance(part, Choice):
            count *= sum(wordings(branch) for branch in part.branches)
    return count


def draw(template: Template, *, rng: Random, fill: Callable[[str], str]) -> str:
    """One wording: choices drawn from left to right, slots asked of `fill` in the order of the text."""
    pieces: list[str] = []
    _draw_into(pieces, template, rng, fill)
    return "".join(pieces)


def _draw_into(pieces: list[str], template: Template, rng: Random, fill: Callable[[str], str]) -> None:
    for part in template:
        if type(part) is str:
            pieces.append(part)
        elif type(part) is Slot:
            pieces.append(fill(part.name))
        else:
            branches = part.branches
            _draw_into(pieces, branches[int(rng.random() * len(branches))], rng, fill)


def _parse_sequence(text: str, start: int, *, inside: bool) -> tuple[Template, int]:
    parts: list[str | Slot | Choice] = []
    position, literal_from = start, start
    while position < len(text):
        mark = text[position]
        if mark in "|)" and inside:
            break
        if mark == ")":
            raise ValueError(f"a bracket closes nothing at {position} in {text!r}")
        if mark not in "(<":
            position += 1
            continue
        if literal_from < position:
            parts.append(text[literal_from:position])
        if mark == "<":
            end = text.find(">", position)
            if end < 0:
                raise ValueError(f"a slot is left open at {position} in {text!r}")
            parts.append(Slot(text[position + 1 : end]))
            position = end + 1
        else:
            branches = []
            while True:
                branch, position = _parse_sequence(text, position + 1, inside=True)
                branches.append(branch)
                if position >= len(text):
                    raise ValueError(f"a bracket is left open in {text!r}")
                if text[position] == ")":
                    break
            parts.append(Choice(tuple(branches)))
            position += 1
        literal_from = position
    if literal_from < position:
        parts.append(text[literal_from:position])
    return tuple(parts), position
