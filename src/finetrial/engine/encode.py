"""Which tokens is a model shown for an example, and which of them carry loss?

Prompt and completion are tokenised apart, so a prompt has the same tokens in training and in sampling. Loss falls
on the completion and its end token alone. What is trained is said by a mask and never by a token's value, so a pad
token that equals the end token unteaches nothing. The tokenizer decides on a beginning token.

Overlong examples are refused, or cut: a prompt loses tokens after its first quarter, a chat its oldest turns; a
completion and its end token are never cut. This module needs a tokenizer and no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from finetrial.engine.chat import ChatPiece, chat_pieces, chat_prompt, without_oldest_turn
from finetrial.engine.tokenise import (
    Habits,
    continuation_ids,
    cut_middle,
    end_token_id,
    habits_of,
    plain_ids,
    prompt_ids,
)
from finetrial.errors import UserError
from finetrial.trial.examples import Dropped, Encoded, EncodedSplit, Example, Message
from finetrial.trial.template import PLAIN, render_prompt, seam

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Overlength = Literal["refuse", "cut"]
AssistantLoss = Literal["all", "last"]


class Overlong(UserError):
    """An example does not fit `max_tokens`."""

    def __init__(self, what: str, *, tokens: int, max_tokens: int, fix: str) -> None:
        super().__init__(what, got=f"{tokens:,} tokens", expected=f"at most {max_tokens:,}", fix=fix)
        self.tokens = tokens


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as a model is shown it before it answers."""

    text: str
    token_ids: tuple[int, ...]
    cut_tokens: int = 0


def shown_as_chat(example: Example, *, template: str) -> bool:
    """Is the example shown through the tokenizer's chat template? A chat is, unless the trial gives a template."""
    return example.messages is not None and template == PLAIN


def prompt_text(example: Example, *, tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """What a model is shown of an example before it answers, as text: the filled template, or for chats the turns
    before the last assistant turn in the tokenizer's chat template, up to where the assistant begins to write."""
    if shown_as_chat(example, template=template):
        assert example.messages is not None
        return chat_prompt(example.messages[:-1], tokenizer=tokenizer, origin=example.origin)
    return render_prompt(example, template=template)


def encode(
    example: Example,
    *,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_tokens: int,
    overlong: Overlength,
    assistant_loss: AssistantLoss,
) -> Encoded:
    """An example's tokens and which of them carry loss. The first reference is the one that is trained.

    Raises Overlong, with the row, for an example that does not fit: any with `overlong` "refuse"; with "cut" one
    whose completion leaves less than one token for the prompt.
    """
    setting = _Setting(tokenizer, habits_of(tokenizer), template, max_tokens, overlong, assistant_loss)
    return _encode(example, setting=setting)


@dataclass(frozen=True, slots=True)
class _Setting:
    """The arguments of `encode`, and the tokenizer's habits."""

    tokenizer: PreTrainedTokenizerBase
    habits: Habits
    template: str
    max_tokens: int
    overlong: Overlength
    assistant_loss: AssistantLoss


def _encode(example: Example, *, setting: _Setting) -> Encoded:
    if shown_as_chat(example, template=setting.template):
        return _encode_chat(example, setting=setting)
    tokenizer, max_tokens = setting.tokenizer, setting.max_tokens
    prompt = render_prompt(example, template=setting.template)
    completion = seam(prompt, example.references[0]) + example.references[0]
    shown = setting.habits.leading + tuple(plain_ids(prompt, tokenizer=tokenizer))
    trained = (
        *continuation_ids(completion, tokenizer=tokenizer, habits=setting.habits),
        end_token_id(tokenizer),
    )
    total = len(shown) + len(trained)
    if total > max_tokens:
        _refuse(example, tokens=total, least=len(trained) + 1, setting=setting)
        shown = cut_middle(shown, room=max_tokens - len(trained))
    return Encoded(
        example_id=example.id,
        token_ids=shown + trained,
        trained=(False,) * len(shown) + (True,) * len(trained),
        cut_tokens=total - len(shown) - len(trained),
    )


def _refuse(example: Example, *, tokens: int, least: int, setting: _Setting) -> None:
    """Raise where an overlong example may not or cannot be cut to `max_tokens`; `least` is what cannot be cut."""
    if setting.overlong == "refuse":
        raise Overlong(
            f"{example.origin} is longer than data.max_tokens",
            tokens=tokens,
            max_tokens=setting.max_tokens,
            fix=f"Set `overlong: cut`, or `max_tokens: {tokens}` if the model's context allows.",
        )
    if least > setting.max_tokens:
        raise Overlong(
            f"{example.origin}: the completion alone fills data.max_tokens, and completions are not cut",
            tokens=least,
            max_tokens=setting.max_tokens,
            fix="Raise `max_tokens` or shorten the row.",
        )


def encode_prompt(
    example: Example,
    *,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_tokens: int,
    overlong: Overlength,
) -> EncodedPrompt:
    """An example's prompt as a model is shown it before it answers, in at most `max_tokens` tokens.

    A longer one raises Overlong with the row, or is cut as in training.
    """
    chat = shown_as_chat(example, template=template)
    shown, whole = example, None
    while True:
        text = prompt_text(shown, tokenizer=tokenizer, template=template)
        ids = prompt_ids(text, tokenizer=tokenizer, chat=chat)
        whole = whole or len(ids)
        if len(ids) <= max_tokens:
            return EncodedPrompt(text, ids, cut_tokens=whole - len(ids))
        shorter = without_oldest_turn(shown.messages) if chat and shown.messages else None
        if overlong == "refuse" or max_tokens < 1 or (chat and shorter is None):
            raise Overlong(
                f"the prompt of {example.origin} is too long",
                tokens=whole,
                max_tokens=max_tokens,
                fix="Shorten the row." if overlong == "cut" else "Set `overlong: cut` under data.",
            )
        if shorter is None:
            kept = cut_middle(ids, room=max_tokens)
            return EncodedPrompt(tokenizer.decode(kept), kept, cut_tokens=whole - len(kept))
        shown = replace(shown, messages=shorter)


def _chat_tokens(
    pieces: Iterable[ChatPiece], *, tokenizer: PreTrainedTokenizerBase, habits: Habits
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The tokens of a chat's pieces. In a trained piece all up to and with its end token carry loss."""
    ids: list[int] = []
    trained: list[bool] = []
    for piece in pieces:
        mine = list(
            continuation_ids(piece.text, tokenizer=tokenizer, habits=habits)
            if ids
            else plain_ids(piece.text, tokenizer=tokenizer)
        )
        carries = 0
        if piece.trained:
            ends = [i for i, token in enumerate(mine) if token in habits.special]
            if not ends:  # the template closes a turn with plain text, or with nothing
                mine.append(end_token_id(tokenizer))
                ends = [len(mine) - 1]
            carries = ends[-1] + 1
        ids += mine
        trained += [i < carries for i in range(len(mine))]
    used = max((i + 1 for i, carries in enumerate(trained) if carries), default=0)
    return tuple(ids[:used]), tuple(trained[:used])  # what follows the last end token teaches nothing


def _encode_chat(example: Example, *, setting: _Setting) -> Encoded:
    assert example.messages is not None
    turns, whole = example.messages, None
    while True:
        pieces = chat_pieces(
            turns, tokenizer=setting.tokenizer, origin=example.origin, assistant_loss=setting.assistant_loss
        )
        ids, trained = _chat_tokens(pieces, tokenizer=setting.tokenizer, habits=setting.habits)
        whole = whole or len(ids)
        if len(ids) <= setting.max_tokens:
            return Encoded(example.id, ids, trained, cut_tokens=whole - len(ids))
        shorter = without_oldest_turn(turns)
        _refuse(example, tokens=whole, least=len(ids) if shorter is None else 0, setting=setting)
        assert shorter is not None
        turns = shorter


def encode_split(
    examples: Sequence[Example],
    *,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    max_tokens: int,
    overlong: Overlength,
    assistant_loss: AssistantLoss,
) -> EncodedSplit:
    """Every example of a split as training sees it.

    With `overlong` "refuse" all overlong rows are named in one error; with "cut" those that cannot be cut are
    dropped and listed.
    """
    setting = _Setting(tokenizer, habits_of(tokenizer), template, max_tokens, overlong, assistant_loss)
    kept: list[Encoded] = []
    faults: list[tuple[Example, Overlong]] = []
    for example in examples:
        try:
            kept.append(_encode(example, setting=setting))
        except Overlong as fault:
            faults.append((example, fault))
    if faults and overlong == "refuse":
        example, longest = max(faults, key=lambda pair: pair[1].tokens)
        if len(faults) == 1:
            raise longest
        raise Overlong(
            f"{len(faults):,} of {len(examples):,} rows are longer than data.max_tokens, most {example.origin}",
            tokens=longest.tokens,
            max_tokens=max_tokens,
            fix=f"Set `overlong: cut`, or `max_tokens: {longest.tokens}` if the model's context allows.",
        )
    return EncodedSplit(
        tuple(kept), tuple(Dropped(example.id, example.origin, fault.what) for example, fault in faults)
    )


def end_ids(tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> frozenset[int]:
    """Every token that may end a completion: the tokenizer's, and for chats the one that ends a turn."""
    ends = {end_token_id(tokenizer)}
    if chat:
        turns = (Message("user", "a"), Message("assistant", "b"))
        pieces = chat_pieces(turns, tokenizer=tokenizer, origin="the chat template", assistant_loss="last")
        ids, _ = _chat_tokens(pieces, tokenizer=tokenizer, habits=habits_of(tokenizer))
        ends.add(ids[-1])
    return frozenset(ends)
