"""Tokenise a piece of text at the start of a sequence or as the continuation of one.

The tokenizer decides on a beginning token and on a space before a text. This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrial.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Of a cut prompt, the share of the room that goes to its beginning. Sun et al. 2019 (How to fine-tune BERT for
# text classification, section 5.3.1 and table 2): the first 128 and the last 382 tokens beat either end alone.
KEPT_AT_START = 128 / (128 + 382)
# Characters that merge with nothing, for tokenizers that put a space before every text. See `continuation_ids`.
_ANCHORS = ("\n", "=", "x")


@dataclass(frozen=True, slots=True)
class TokenizerTraits:
    """What a tokenizer does of its own accord; found once, used for every row."""

    leading: tuple[int, ...]  # before a text: a beginning token, or nothing
    adds_space: bool  # before a text, as tokenizers of the SentencePiece kind do
    special: frozenset[int]


def plain_ids(text: str, *, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    found = tokenizer(text, add_special_tokens=False, return_attention_mask=False, verbose=False)
    ids: list[int] = found["input_ids"]
    return ids


def text_of(ids: Sequence[int], *, tokenizer: PreTrainedTokenizerBase, skip_special_tokens: bool = False) -> str:
    """The text of these tokens."""
    text = tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)
    assert isinstance(text, str)  # only of several sequences it makes a list
    return text


def traits_of(tokenizer: PreTrainedTokenizerBase) -> TokenizerTraits:
    marked = tokenizer("a", return_attention_mask=False)["input_ids"]
    plain = plain_ids("a", tokenizer=tokenizer)
    places = range(len(marked) - len(plain) + 1)
    start = next((i for i in places if marked[i : i + len(plain)] == plain), 0)
    first = tokenizer.convert_ids_to_tokens(plain[:1])
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return TokenizerTraits(
        leading=tuple(marked[:start]),
        adds_space=bool(first) and first[0].startswith(("\u2581", "\u0120")),  # a space, in the two usual spellings
        special=frozenset(added | set(tokenizer.all_special_ids)),
    )


def continuation_ids(text: str, *, tokenizer: PreTrainedTokenizerBase, traits: TokenizerTraits) -> tuple[int, ...]:
    """The tokens of a text that continues another.

    Where the tokenizer would put a space before it, the text is tokenised behind a character that merges with
    nothing, whose tokens are then taken off.
    """
    if traits.adds_space and text:
        for anchor in _ANCHORS:
            before = plain_ids(anchor, tokenizer=tokenizer)
            both = plain_ids(anchor + text, tokenizer=tokenizer)
            known = tokenizer.unk_token_id is None or tokenizer.unk_token_id not in before
            if known and both[: len(before)] == before:
                return tuple(both[len(before) :])
    return tuple(plain_ids(text, tokenizer=tokenizer))


def end_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that ends a completion. A tokenizer without one is an error."""
    if tokenizer.eos_token_id is None:
        raise UserError(
            "the tokenizer has no end token, so a completion could not learn to stop",
            got=str(tokenizer.name_or_path or type(tokenizer).__name__),
            fix='Set "eos_token" in its tokenizer_config.json.',
        )
    return int(tokenizer.eos_token_id)


def prompt_ids(text: str, *, tokenizer: PreTrainedTokenizerBase, chat: bool = False) -> tuple[int, ...]:
    """The tokens of a prompt's text, as training saw them. A chat template brings its own beginning token."""
    plain = tuple(plain_ids(text, tokenizer=tokenizer))
    return plain if chat else traits_of(tokenizer).leading + plain


def kept_at_start(room: int) -> int:
    """Of so many tokens that are kept of a cut prompt, how many are its beginning."""
    return int(room * KEPT_AT_START)


def cut_middle(ids: Sequence[int], *, room: int) -> tuple[int, ...]:
    """The first quarter and the last three quarters of `room` tokens; everything when it fits."""
    if len(ids) <= room:
        return tuple(ids)
    start = kept_at_start(room)
    return (*ids[:start], *ids[len(ids) - (room - start) :])
