"""Show one example as training sees it: which stretches of its text carry loss, and how the seam is tokenised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrial.trial.examples import Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SEAM_TOKENS = 4  # on either side


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of tokens that all carry loss or all carry none, as text."""

    text: str
    trained: bool
    tokens: int


@dataclass(frozen=True, slots=True)
class ShownExample:
    """One example as training sees it."""

    example_id: str
    origin: str
    stretches: tuple[Stretch, ...]
    before_seam: tuple[str, ...]  # the last tokens of the last prompt, as text
    after_seam: tuple[str, ...]  # the first tokens that are trained after it


def show_example(encoded: Encoded, *, origin: str, tokenizer: PreTrainedTokenizerBase) -> ShownExample:
    """An encoded example as text. Each stretch is what the decoded text grows by, so that together they are it."""
    flags = encoded.trained
    edges = [0, *(i for i in range(1, len(flags)) if flags[i] != flags[i - 1]), len(flags)]
    texts = [_decoded(encoded.token_ids[:edge], tokenizer=tokenizer) for edge in edges]
    stretches = tuple(
        Stretch(text=after[len(before) :], trained=flags[start], tokens=end - start)
        for before, after, start, end in zip(texts, texts[1:], edges, edges[1:], strict=False)
    )
    seam = max((i for i in range(1, len(flags)) if flags[i] and not flags[i - 1]), default=0)
    return ShownExample(
        example_id=encoded.example_id,
        origin=origin,
        stretches=stretches,
        before_seam=_pieces(encoded.token_ids[max(0, seam - SEAM_TOKENS) : seam], tokenizer=tokenizer),
        after_seam=_pieces(encoded.token_ids[seam : seam + SEAM_TOKENS], tokenizer=tokenizer),
    )


def _decoded(ids: tuple[int, ...], *, tokenizer: PreTrainedTokenizerBase) -> str:
    return (
        str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if ids
        else ""
    )


def _pieces(ids: tuple[int, ...], *, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Token by token. Tokenizers of the SentencePiece kind write a space as U+2581."""
    return tuple(
        name.replace("\u2581", " ") if "\u2581" in name else _decoded((token,), tokenizer=tokenizer)
        for token, name in zip(ids, tokenizer.convert_ids_to_tokens(list(ids)), strict=True)
    )
