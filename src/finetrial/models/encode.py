"""Encode examples: the tokens that a model is shown, and which of them carry loss.

Prompt and completion are tokenised apart, so a prompt has the same tokens in training and in sampling. Loss falls
on the completion and its end token alone. What is trained is said by a mask and never by a token's value, so a pad
token that equals the end token unteaches nothing. The tokenizer decides on a beginning token.

Overlong examples are refused, or cut: a prompt loses tokens after its first quarter, a chat its oldest turns and
then as much of its question; a completion and its end token are never cut. This module needs a tokenizer and no
torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from finetrial.errors import UserError
from finetrial.models.chat import (
    ChatPiece,
    chat_pieces,
    chat_prompt,
    with_shorter_question,
    without_oldest_turn,
)
from finetrial.models.tokenise import (
    TokenizerTraits,
    continuation_ids,
    cut_middle,
    end_token_id,
    plain_ids,
    prompt_ids,
    text_of,
    traits_of,
)
from finetrial.trial.data_findings import counted
from finetrial.trial.examples import Dropped, Encoded, EncodedSplit, Example, Message
from finetrial.trial.form import Form
from finetrial.trial.prompted import with_shot_turns, with_shots
from finetrial.trial.template import render_prompt, seam

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
    turns: tuple[Message, ...] = ()  # of a chat


def encode(
    example: Example,
    *,
    tokenizer: PreTrainedTokenizerBase,
    form: Form,
    max_tokens: int,
    overlong: Overlength,
    assistant_loss: AssistantLoss,
) -> Encoded:
    """An example's tokens and which of them carry loss. The first reference is the one that is trained.

    Raises Overlong, with the row, for an example that does not fit: any with `overlong` "refuse"; with "cut" one
    whose completion leaves less than one token for the prompt.
    """
    setting = _Setting(tokenizer, traits_of(tokenizer), form, max_tokens, overlong, assistant_loss)
    return _encode(example, setting=setting)


@dataclass(frozen=True, slots=True)
class _Setting:
    """The arguments of `encode`, and the tokenizer's traits."""

    tokenizer: PreTrainedTokenizerBase
    traits: TokenizerTraits
    form: Form
    max_tokens: int
    overlong: Overlength
    assistant_loss: AssistantLoss


def _encode(example: Example, *, setting: _Setting) -> Encoded:
    if setting.form.chat:
        return _encode_chat(example, setting=setting)
    tokenizer, max_tokens = setting.tokenizer, setting.max_tokens
    prompt = render_prompt(example, template=setting.form.template)
    completion = seam(prompt, example.references[0]) + example.references[0]
    shown = setting.traits.leading + tuple(plain_ids(prompt, tokenizer=tokenizer))
    trained = (
        *continuation_ids(completion, tokenizer=tokenizer, traits=setting.traits),
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
    form: Form,
    max_tokens: int | None = None,
    overlong: Overlength = "refuse",
    shots: Sequence[Example] = (),
    separator: str = "\n\n",
) -> EncodedPrompt:
    """An example's prompt as a model is shown it before it answers, behind the solved examples `shots`.

    As text the examples are joined by `separator`, as a chat they are earlier turns. A prompt of more than
    `max_tokens` tokens raises Overlong with the row, or is cut: text as in training, or of its oldest tokens where
    examples stand before it; a chat of its oldest exchanges, then of its question.
    """
    if form.chat:
        return _chat_prompt(
            example, tokenizer=tokenizer, form=form, max_tokens=max_tokens, overlong=overlong, shots=shots
        )
    text = with_shots(example, shots=shots, template=form.template, separator=separator)
    ids = prompt_ids(text, tokenizer=tokenizer)
    if max_tokens is None or len(ids) <= max_tokens:
        return EncodedPrompt(text, ids)
    if overlong == "refuse" or max_tokens < 1:
        raise _long_prompt(example, tokens=len(ids), max_tokens=max_tokens, overlong=overlong, shots=len(shots))
    kept = ids[-max_tokens:] if shots else cut_middle(ids, room=max_tokens)
    return EncodedPrompt(text_of(kept, tokenizer=tokenizer), kept, cut_tokens=len(ids) - len(kept))


def _long_prompt(example: Example, *, tokens: int, max_tokens: int, overlong: Overlength, shots: int) -> Overlong:
    behind = f" behind {counted(shots, 'solved example')}" if shots else ""
    shorter = "use fewer shots" if shots else "shorten the row"
    return Overlong(
        f"the prompt of {example.origin}{behind} is too long to be answered",
        tokens=tokens,
        max_tokens=max_tokens,
        fix=f"{shorter.capitalize()}." if overlong == "cut" else f"Set data.overlong: cut, or {shorter}.",
    )


def _chat_prompt(
    example: Example,
    *,
    tokenizer: PreTrainedTokenizerBase,
    form: Form,
    max_tokens: int | None,
    overlong: Overlength,
    shots: Sequence[Example],
) -> EncodedPrompt:
    turns, whole = with_shot_turns(example, shots=shots, form=form), None
    while True:
        text = chat_prompt(turns, tokenizer=tokenizer, origin=example.origin, tools=form.tools_of(example))
        ids = prompt_ids(text, tokenizer=tokenizer, chat=True)
        whole = whole or len(ids)
        if max_tokens is None or len(ids) <= max_tokens:
            return EncodedPrompt(text, ids, cut_tokens=whole - len(ids), turns=tuple(turns))
        shorter = None if overlong == "refuse" else _shorter(turns, over=len(ids) - max_tokens, tokenizer=tokenizer)
        if shorter is None:
            raise _long_prompt(example, tokens=whole, max_tokens=max_tokens, overlong=overlong, shots=len(shots))
        turns = shorter


def _shorter(
    turns: Sequence[Message], *, over: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[Message, ...] | None:
    """A chat without its oldest exchange, or with so many tokens less of its only question; None: it cannot be."""
    return without_oldest_turn(turns) or with_shorter_question(turns, tokens=over, tokenizer=tokenizer)


def _chat_tokens(
    pieces: Iterable[ChatPiece], *, tokenizer: PreTrainedTokenizerBase, traits: TokenizerTraits
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The tokens of a chat's pieces. In a trained piece all up to and with its end token carry loss."""
    ids: list[int] = []
    trained: list[bool] = []
    for piece in pieces:
        mine = list(
            continuation_ids(piece.text, tokenizer=tokenizer, traits=traits)
            if ids
            else plain_ids(piece.text, tokenizer=tokenizer)
        )
        carries = 0
        if piece.trained:
            ends = [i for i, token in enumerate(mine) if token in traits.special]
            if not ends:  # the template closes a turn with plain text, or with nothing
                mine.append(end_token_id(tokenizer))
                ends = [len(mine) - 1]
            carries = ends[-1] + 1
        ids += mine
        trained += [i < carries for i in range(len(mine))]
    used = max((i + 1 for i, carries in enumerate(trained) if carries), default=0)
    return tuple(ids[:used]), tuple(trained[:used])  # what follows the last end token teaches nothing


def _encode_chat(example: Example, *, setting: _Setting) -> Encoded:
    turns, whole = setting.form.answered_turns(example), None
    while True:
        pieces = chat_pieces(
            turns,
            tokenizer=setting.tokenizer,
            origin=example.origin,
            assistant_loss=setting.assistant_loss,
            tools=setting.form.tools_of(example),
        )
        ids, trained = _chat_tokens(pieces, tokenizer=setting.tokenizer, traits=setting.traits)
        whole = whole or len(ids)
        if len(ids) <= setting.max_tokens:
            return Encoded(example.id, ids, trained, cut_tokens=whole - len(ids))
        shorter = _shorter(turns, over=len(ids) - setting.max_tokens, tokenizer=setting.tokenizer)
        _refuse(example, tokens=whole, least=len(ids) if shorter is None else 0, setting=setting)
        assert shorter is not None
        turns = shorter


def encode_split(
    examples: Sequence[Example],
    *,
    tokenizer: PreTrainedTokenizerBase,
    form: Form,
    max_tokens: int,
    overlong: Overlength,
    assistant_loss: AssistantLoss,
) -> EncodedSplit:
    """Every example of a split as training sees it.

    With `overlong` "refuse" all overlong rows are named in one error; with "cut" those that cannot be cut are
    dropped and listed.
    """
    setting = _Setting(tokenizer, traits_of(tokenizer), form, max_tokens, overlong, assistant_loss)
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
    """Every token that may end a completion: the tokenizer's, and the one that ends a turn of its chat template.

    With `chat` False a template that cannot be followed is passed over; the arm is not shown it.
    """
    ends = {end_token_id(tokenizer)}
    if not tokenizer.chat_template and not chat:
        return frozenset(ends)
    turns = (Message("user", "a"), Message("assistant", "b"))
    try:
        pieces = chat_pieces(turns, tokenizer=tokenizer, origin="the chat template", assistant_loss="last")
    except UserError:
        if chat:
            raise
        return frozenset(ends)
    ids, _ = _chat_tokens(pieces, tokenizer=tokenizer, traits=traits_of(tokenizer))
    return frozenset(ends | {ids[-1]})
