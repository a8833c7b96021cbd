"""Draw one of the many wordings of a line of material, and keep some sentences for the test.

Syntax: `(a|b|)` chooses one branch, `<name>` asks the scene for a slot. Branches nest. A template is parsed once
into nested tuples and then drawn from many times.
Randomness uses only `random.Random.random()`, whose stream Python promises to keep from version to version.

Beside plots and schemes, wordings are dealt out too: a sentence's checksum says in which split it may stand. A
training text does not use a kept sentence where its material has another wording to offer. A held-out text looks
for a kept one, and does without the sentence where there is none and the post can spare it. So what a held-out post
says has, for the most part, been said before in other words only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar
from zlib import crc32

BUCKETS = 8
HELDOUT_BUCKET = 0
VALIDATION_BUCKET = 1
TRIES = 100  # of many wordings a kept one, an eighth of them, is missed with probability (7/8)^100 = 2e-6


def split_of(sentence: str) -> str:
    """The split in which this sentence may stand. CRC-32 (ISO 3309) of it in small letters without its mark."""
    bucket = crc32(sentence.lower().rstrip(".!?,;").encode()) % BUCKETS
    if bucket == HELDOUT_BUCKET:
        return "heldout"
    return "validation" if bucket == VALIDATION_BUCKET else "train"


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


def parse(text: str, *, known: dict[Choice, Choice] | None = None) -> Template:
    """The template written as `text`. ValueError when a bracket is left open or closes nothing.

    Equal choices of templates that share `known` become one object, so that a `Memory` can tell them.
    """
    template, end = _parse_sequence(text, 0, known={} if known is None else known, inside=False)
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


def certain_slots(template: Template) -> frozenset[str]:
    """Every slot that all wordings of the template ask for."""
    names: set[str] = set()
    for part in template:
        if isinstance(part, Slot):
            names.add(part.name)
        elif isinstance(part, Choice):
            names |= frozenset.intersection(*(certain_slots(branch) for branch in part.branches))
    return frozenset(names)


def wordings(template: Template) -> int:
    """How many ways the choices can fall, slots left aside."""
    count = 1
    for part in template:
        if isinstance(part, Choice):
            count *= sum(wordings(branch) for branch in part.branches)
    return count


class Memory:
    """How choices fell, so that what is said again later ("a sick child") says the same.

    While `open`, draws are written down; afterwards a choice that was seen falls as before.
    """

    def __init__(self) -> None:
        self.open = False
        self._fallen: dict[int, int] = {}

    def fallen(self) -> dict[int, int]:
        """A copy of what is written down, for `restore`."""
        return dict(self._fallen)

    def restore(self, fallen: dict[int, int]) -> None:
        """Forget what was written down after `fallen` was taken."""
        self._fallen = dict(fallen)

    def branch(self, choice: Choice, *, rng: Random) -> Template:
        """The branch this choice takes. A choice is told by identity: see `parse`."""
        if self.open:
            index = int(rng.random() * len(choice.branches))
            self._fallen[id(choice)] = index
        else:
            seen = self._fallen.get(id(choice))
            index = int(rng.random() * len(choice.branches)) if seen is None else seen
        return choice.branches[index]


def draw(template: Template, *, rng: Random, fill: Callable[[str], str], memory: Memory | None = None) -> str:
    """One wording: choices drawn from left to right, slots asked of `fill` in the order of the text."""
    pieces: list[str] = []
    _draw_into(pieces, template, rng, fill, memory)
    return "".join(pieces)


def _draw_into(
    pieces: list[str], template: Template, rng: Random, fill: Callable[[str], str], memory: Memory | None
) -> None:
    for part in template:
        if isinstance(part, str):
            pieces.append(part)
        elif isinstance(part, Slot):
            pieces.append(fill(part.name))
        elif memory is None:
            branches = part.branches
            _draw_into(pieces, branches[int(rng.random() * len(branches))], rng, fill, None)
        else:
            _draw_into(pieces, memory.branch(part, rng=rng), rng, fill, memory)


def _parse_sequence(text: str, start: int, *, known: dict[Choice, Choice], inside: bool) -> tuple[Template, int]:
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
                branch, position = _parse_sequence(text, position + 1, known=known, inside=True)
                branches.append(branch)
                if position >= len(text):
                    raise ValueError(f"a bracket is left open in {text!r}")
                if text[position] == ")":
                    break
            choice = Choice(tuple(branches))
            parts.append(known.setdefault(choice, choice))
            position += 1
        literal_from = position
    if literal_from < position:
        parts.append(text[literal_from:position])
    return tuple(parts), position
