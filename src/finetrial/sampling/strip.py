"""Take off what is no part of an answer before it is scored: blocks of thinking, or what an expression finds.

A block stands between `<think>` and `</think>`, whatever the name. One that the prompt has opened already begins
with the text; one that is never closed takes all that follows, for then nothing was answered. Stops count behind
the block that an answer begins with, and so are not looked for in it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from finetrial.sampling.stops import Decode, answer_of
from finetrial.store.records import Sample
from finetrial.trial.setting_types import tag_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]


def closing(tag: str) -> str:
    """The tag that ends a block: `</think>` for `<think>`."""
    return tag.replace("<", "</", 1)


def opens_block(prompt: str, *, strip: str | None) -> bool:
    """Whether a prompt ends within a block, as some chat templates make it."""
    tag = None if strip is None else tag_of(strip)
    return tag is not None and prompt.rstrip().endswith(tag)


def answer_start(text: str, *, strip: str | None, opened: bool) -> int | None:
    """Where the answer begins, behind the block that the text begins with; None while that is not closed."""
    tag = None if strip is None else tag_of(strip)
    begins = tag is not None and (opened or text.lstrip().startswith(tag))
    if tag is None or not begins:
        return 0
    place = text.find(closing(tag))
    return None if place < 0 else place + len(closing(tag))


@dataclass(slots=True)
class ThinkingWatch:
    """Follows a text piece by piece, and lets through what stands behind the block that it begins with."""

    tag: str
    opened: bool  # the prompt has opened the block
    _buffer: str = field(default="", init=False)
    _answers: bool = field(default=False, init=False)

    def feed(self, new: str) -> str:
        """What of the text so far is known to be answer, and was not let through before."""
        if self._answers:
            return new
        self._buffer += new
        if not self.opened:
            head = self._buffer.lstrip()
            if head.startswith(self.tag):
                self.opened, self._buffer = True, head.removeprefix(self.tag)
            elif self.tag.startswith(head):
                return ""  # it may become the tag
            else:
                self._answers = True
                return self._buffer
        end = closing(self.tag)
        place = self._buffer.find(end)
        if place < 0:
            self._buffer = self._buffer[-(len(end) - 1) :]
            return ""
        self._answers = True
        return self._buffer[place + len(end) :]


def spans_of(text: str, *, strip: str, opened: bool) -> list[Span]:
    """What is taken off a text, as [start, stop) in order."""
    tag = tag_of(strip)
    if tag is None:
        return [match.span() for match in re.finditer(strip, text) if match.group()]
    end, spans, place = closing(tag), list[Span](), 0
    first_open, first_end = text.find(tag), text.find(end)
    if opened or (first_end >= 0 and not 0 <= first_open < first_end):
        place = len(text) if first_end < 0 else first_end + len(end)
        spans.append((0, place))
    while (start := text.find(tag, place)) >= 0:
        stop = text.find(end, start)
        place = len(text) if stop < 0 else stop + len(end)
        spans.append((start, place))
    return [span for span in spans if span[0] < span[1]]


def strip_sample(sample: Sample, *, strip: str | None, decode: Decode | None = None) -> Sample:
    """The sample with its answer alone as its text, and what was taken off beside it.

    `tokens` stays what was generated, which is what it cost. `decode` tells how many tokens were taken off.
    """
    if strip is None:
        return sample
    spans = spans_of(sample.text, strip=strip, opened=opens_block(sample.prompt, strip=strip))
    if not spans:
        return replace(sample, stripped_tokens=0)
    kept = "".join(
        sample.text[start:stop]
        for start, stop in zip([0, *(s for _, s in spans)], [*(s for s, _ in spans), len(sample.text)], strict=True)
    )
    return replace(
        sample,
        text=answer_of(kept).removeprefix(" "),
        stripped="\n".join(sample.text[start:stop] for start, stop in spans),
        stripped_tokens=_tokens_in(spans, sample=sample, decode=decode),
    )


def _tokens_in(spans: Sequence[Span], *, sample: Sample, decode: Decode | None) -> int | None:
    """How many of the sample's tokens the spans of its text took; None where its tokens are not known."""
    ids = sample.token_ids
    if ids is None or decode is None:
        return None
    shift = max(0, decode(ids).find(sample.text))  # blank lines before it were no part of the text

    def before(place: int) -> int:
        """The fewest tokens whose text reaches the place."""
        return bisect_left(range(len(ids)), place + shift, key=lambda count: len(decode(ids[:count])))

    return sum(before(stop) - before(start) for start, stop in spans)


def decoder(tokenizer: PreTrainedTokenizerBase, *, strip: str | None) -> Decode:
    """Tokens as text, without special tokens but with the tags of the blocks that are taken off."""
    from finetrial.models.tokenise import text_of

    tag = None if strip is None else tag_of(strip)
    tags = () if tag is None else (tag, closing(tag))
    special = set(tokenizer.all_special_tokens)
    kept = {tokenizer.convert_tokens_to_ids(one): one for one in tags if one in special}

    def decode(ids: Sequence[int]) -> str:
        if not kept:
            return text_of(ids, tokenizer=tokenizer, skip_special_tokens=True)
        parts, start = [], 0
        for place in (*(place for place, token in enumerate(ids) if token in kept), len(ids)):
            parts.append(text_of(ids[start:place], tokenizer=tokenizer, skip_special_tokens=True))
            parts.append(kept[ids[place]] if place < len(ids) else "")
            start = place + 1
        return "".join(parts)

    return decode
