"""Find repetition, loops at the end, and texts that stop before they are finished."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from finetrial.metrics.passages import Finding, Passage, Span
from finetrial.metrics.tokens import unicode_tokens

# Assumptions, chosen so that none of 619 human summaries and few verses count as loops: three full copies and eight
# words, or eight copies and sixteen characters where the loop is no longer than twenty.
_LEAST_COPIES, _LEAST_LOOP_WORDS = 3, 8
_FARTHEST_CHARACTERS = 400  # of the end that are searched for a loop of characters
_LEAST_CHARACTER_COPIES, _LEAST_LOOP_CHARACTERS, _LONGEST_CHARACTER_UNIT = 8, 16, 20
# Closing marks that may follow the last word of a finished text, in any script that has a full stop.
_TERMINAL = ".!?…。！？।؟"
_CLOSING = "\"'”’»)]}*_`"


@dataclass(frozen=True)
class Loop:
    """The looped end of a text: the whole of it, one copy, and how many full copies there are. None where it
    has none."""

    span: Span | None
    unit: str | None
    copies: int


@dataclass(frozen=True)
class Ending:
    """Whether a text is finished; `decided_by` says from what: the generation's end reason, or the last mark."""

    is_unfinished: bool | None
    decided_by: str
    tail: Span | None


def repeated_ngrams(text: str | Passage, *, n: int = 4) -> Finding:
    """rep-n = 1 - distinct / all n-grams of words, and the places of every n-gram seen before.

    Welleck et al., "Neural text generation with unlikelihood training", 2019, section 6.1 (there with n = 4).
    """
    passage = Passage.of(text)
    found, total = passage.words, len(passage.words) - n + 1
    if total < 1:
        return Finding(f"rep-{n}", None, (), f"fewer than {n} words")
    seen: set[Hashable] = set()
    places = []
    for i in range(total):
        gram = passage.tokens[i : i + n]
        if gram in seen:
            places.append((found[i].start, found[i + n - 1].end))
        seen.add(gram)
    return Finding(f"rep-{n}", len(places) / total, passage.merged(places))


def repeated_sentences(text: str | Passage) -> Finding:
    """Share of the sentences that an earlier sentence repeats word for word, case and punctuation apart."""
    seen: set[Hashable] = set()
    total, repeats = 0, []
    for sentence in Passage.of(text).sentences:
        key = tuple(unicode_tokens(sentence.text))
        if not key:
            continue
        total += 1
        if key in seen:
            repeats.append(sentence)
        seen.add(key)
    if total == 0:
        return Finding("repeated_sentences", None, (), "the text has no words")
    return Finding("repeated_sentences", len(repeats) / total, tuple(repeats))


def terminal_loop(text: str | Passage) -> Loop:
    """Find the unit that the end of a text repeats over and over.

    A unit of words, at least three full copies and eight words up to the last word; a last word cut short, as a
    limit on tokens cuts it, may be the beginning of the one expected. Or a unit of up to twenty characters,
    eight copies and sixteen characters. The definition is ours; Holtzman et al., "The curious case of neural
    text degeneration", 2019, describe the fault.
    """
    passage = Passage.of(text)
    found, whole = passage.words, passage.text
    for last in (len(found), len(found) - 1):
        tokens = passage.tokens[: max(0, last)]
        period, length = _loop_at_end(tokens, least_copies=_LEAST_COPIES, least_length=_LEAST_LOOP_WORDS)
        if period and (last == len(found) or tokens[last - period].startswith(found[-1].token)):
            first = last - length
            unit = whole[found[first].start : found[first + period].start].strip()
            return Loop(passage.span(found[first].start, len(whole.rstrip())), unit, length // period)
    end = len(whole.rstrip())
    begin = max(0, end - _FARTHEST_CHARACTERS)
    period, length = _loop_at_end(
        whole[begin:end], least_copies=_LEAST_CHARACTER_COPIES, least_length=_LEAST_LOOP_CHARACTERS
    )
    if period and period <= _LONGEST_CHARACTER_UNIT:
        return Loop(passage.span(end - length, end), whole[end - length : end - length + period], length // period)
    return Loop(None, None, 0)


def _loop_at_end(tokens: Sequence[Hashable], *, least_copies: int, least_length: int) -> tuple[int, int]:
    """The shortest period with which the end repeats, and how many tokens that end has; (0, 0) without one.

    The Z function of the reversed tokens (Gusfield, "Algorithms on strings, trees, and sequences", 1997, 1.4)
    gives for each period how far back it holds, in linear time.
    """
    reversed_tokens = tokens[::-1]
    n = len(tokens)
    reach = [0] * n
    left = right = 0
    for i in range(1, n):
        if i < right:
            reach[i] = min(right - i, reach[i - left])
        while i + reach[i] < n and reversed_tokens[reach[i]] == reversed_tokens[i + reach[i]]:
            reach[i] += 1
        if i + reach[i] > right:
            left, right = i, i + reach[i]
        # reach[i] is final here, and the first period that suffices is the shortest
        if i + reach[i] >= max(least_copies * i, least_length):
            return i, i + reach[i]
    return 0, 0


def ending(text: str | Passage, *, end_reason: str | None) -> Ending:
    """Whether the text is unfinished: by the end reason where it is known, else by the last mark.

    `length`: the limit truncated the text; `end_token` and `stop_string`: the model ended it. Otherwise
    a text without a terminal mark counts as unfinished: a quarter of human summaries end so, which is why the
    reason is first.
    """
    passage = Passage.of(text)
    stripped = passage.text.rstrip()
    tail = passage.sentences[-1] if stripped else None
    if end_reason is not None:
        is_cut = end_reason == "length"
        return Ending(is_cut, "end reason", tail if is_cut else None)
    if not stripped:
        return Ending(None, "the text is empty", None)
    is_open = not stripped.rstrip(_CLOSING).endswith(tuple(_TERMINAL))
    return Ending(is_open, "last mark", tail if is_open else None)
