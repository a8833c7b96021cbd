"""Read what somebody else's program sent, field by field: text, whole number, milliseconds; nothing else gets in.

JSON can spell what a database cannot hold: halves of characters, numbers of any length, objects where text belongs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

LARGEST = 2**53  # beyond it JavaScript's own numbers are not whole any more
Word = TypeVar("Word", bound=str)
_SHOWN = 80  # characters of a wrong value that an error repeats


@dataclass(frozen=True, slots=True)
class Payload:
    """The fields of one JSON object. A field of the wrong type reads as absent."""

    fields: Mapping[str, Any]

    def text(self, name: str, *, longest: int | None = None) -> str | None:
        """A text, halves of characters replaced; None where it is none, or longer than `longest`."""
        value = self.fields.get(name)
        if not isinstance(value, str) or (longest is not None and len(value) > longest):
            return None
        return value.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")

    def one_of(self, name: str, words: Sequence[Word]) -> Word | None:
        """The one of these words that the field is."""
        text = self.text(name)
        return next((word for word in words if word == text), None)

    def whole(self, name: str) -> int | None:
        """A whole number from 0 on that a database can hold."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST:
            return None
        return value

    def milliseconds(self, name: str) -> float | None:
        """A duration of less than eleven days."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
            return None
        return float(value)

    def shown(self, name: str) -> str:
        """The field as an error repeats it."""
        return repr(self.fields.get(name))[:_SHOWN]
