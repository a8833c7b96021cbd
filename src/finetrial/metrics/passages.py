"""Find the words and sentences of a text, and their places.

The diagnostics quote what they find, so that every word keeps its place in the text as characters from `start`
up to, not including, `end`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

from finetrial.metrics.tokens import word_matches

Derived = TypeVar("Derived")


@dataclass(frozen=True)
class Span:
    """A piece of a text: characters `start` up to `end`, and what they say."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Word:
    """A word, case-folded and compatibility-normalised, and its place."""

    token: str
    start: int
    end: int


@dataclass(frozen=True)
class Finding:
    """What a diagnostic found in one text: a rate from 0 to 1, and the places. None where undefined, with the
    reason."""

    name: str
    rate: float | None
    spans: tuple[Span, ...]
    reason: str | None = None


class Passage:
    """A text whose words and sentences are found once, however many diagnostics ask for them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._derived: dict[Callable[[Passage], object], object] = {}

    @classmethod
    def of(cls, text: str | Passage) -> Passage:
        return text if isinstance(text, Passage) else cls(text)

    @functools.cached_property
    def words(self) -> tuple[Word, ...]:
        """The words of any script, as in `tokens.unicode_tokens`, with their places."""
        return tuple(Word(_folded(m[0]), m.start(), m.end()) for m in word_matches(self.text))

    @functools.cached_property
    def tokens(self) -> tuple[str, ...]:
        return tuple(word.token for word in self.words)

    @functools.cached_property
    def sentences(self) -> tuple[Span, ...]:
        """Pieces that end at a full stop, question or exclamation mark, or at a line's end; white space cut off.

        A plain rule: "Dr. Who" is two pieces. It serves to find repeats, where both copies are cut alike.
        """
        return tuple(_sentences(self.text))

    def derive(self, make: Callable[[Passage], Derived]) -> Derived:
        """`make(self)`, made once: what a diagnostic needs of a prompt again and again."""
        if make not in self._derived:
            self._derived[make] = make(self)
        return cast(Derived, self._derived[make])

    def span(self, start: int, end: int) -> Span:
        """The span between two places."""
        return Span(start, end, self.text[start:end])

    def merged(self, places: Iterable[tuple[int, int]]) -> tuple[Span, ...]:
        """Spans of overlapping or touching places, in their order."""
        joined: list[list[int]] = []
        for start, end in sorted(places):
            if joined and start <= joined[-1][1]:
                joined[-1][1] = max(joined[-1][1], end)
            else:
                joined.append([start, end])
        return tuple(self.span(start, end) for start, end in joined)


def _folded(word: str) -> str:
    return word.lower() if word.isascii() else unicodedata.normalize("NFKC", word).casefold()


_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？।])|\n+")


def _sentences(text: str) -> Iterator[Span]:
    start = 0
    for match in [*_SENTENCE_END.finditer(text), None]:
        end = len(text) if match is None else match.start()
        piece = text[start:end]
        stripped = piece.strip()
        if stripped:
            lead = start + len(piece) - len(piece.lstrip())
            yield Span(lead, lead + len(stripped), stripped)
        start = end if match is None else match.end()
