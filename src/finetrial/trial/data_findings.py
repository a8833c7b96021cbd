"""Define a finding of the data gate: what its user should know, short of a refusal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know about the data, with a few places where it is so."""

    code: str  # a name for programs: doubled_marker, duplicates, near_overlap, ...
    message: str
    examples: tuple[str, ...] = ()


def counted(count: int, noun: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def some(names: Iterable[str]) -> tuple[str, ...]:
    """The first few names."""
    return tuple(islice(names, EXAMPLES))
