"""Find a stop string in a generation, token by token.

A stop counts only behind the first character that is not white space: a model that begins with a line break has not
answered yet. The text is decoded piece by piece: every step decodes the tokens since the last whole character and
the few before them that a tokenizer needs to place its spaces, so that a long answer costs no more a token than a
short one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_UNFINISHED = "\ufffd"  # what decoders write for bytes that do not make a character yet


def first_stop(text: str, *, stops: Sequence[str], start: int = 0) -> int | None:
    """Where the earliest stop begins that stands behind the first character that is not white space; else None.

    `start` is where the answer begins.
    """
    answer = len(text) - len(text[start:].lstrip()) + 1
    found = [place for place in (text.find(stop, answer) for stop in stops) if place >= 0]
    return min(found, default=None)


def answer_of(text: str) -> str:
    """The text from its first line that is not blank on. A line keeps its indentation."""
    blank = text[: len(text) - len(text.lstrip())]
    return text[blank.rfind("\n") + 1 :]


def _all(new: str) -> str:
    return new


def _from_the_start(text: str) -> int:
    return 0


class StopWatch:
    """Follows one generation token by token."""

    def __init__(
        self,
        decode: Decode,
        *,
        stops: Sequence[str],
        let_through: Callable[[str], str] = _all,
        start_of: Callable[[str], int | None] = _from_the_start,
    ) -> None:
        """`let_through` is handed the text piece by piece and gives back what of it is answer; `start_of` says
        where the answer begins in the whole text, None where it has not begun."""
        self._decode, self._stops = decode, tuple(stops)
        self._let_through, self._start_of = let_through, start_of
        self._reach = max((len(stop) for stop in self._stops), default=0)
        self._known = 0  # tokens whose text is whole
        self._placed = 0  # of these, from here on they are decoded again for the text that follows
        self._placed_text = ""
        self._begun = False  # has a character come that is not white space?
        self._tail = ""  # of the text behind that character, as much as a stop may begin in

    def completes_stop(self, token_ids: Sequence[int]) -> bool:
        """Whether the newest of all tokens so far completes a stop. Called once a token, until it is true."""
        if not self._stops:
            return False
        text = self._decode(token_ids[self._placed :])
        new = text[len(self._placed_text) :]
        if not new or text.endswith(_UNFINISHED):
            return False
        self._placed, self._known = self._known, len(token_ids)
        self._placed_text = self._decode(token_ids[self._placed :])
        new = self._let_through(new)
        if not self._begun:
            new = new.lstrip()
            if not new:
                return False
            self._begun, new = True, new[1:]
        looked = self._tail + new
        self._tail = looked[max(0, len(looked) - self._reach + 1) :] if self._reach > 1 else ""
        if not any(stop in looked for stop in self._stops):
            return False
        # the pieces' text could differ from the whole's in a space; the whole decides
        text = self._decode(token_ids)
        start = self._start_of(text)
        return start is not None and first_stop(text, stops=self._stops, start=start) is not None
