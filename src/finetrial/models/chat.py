"""Render a chat with the tokenizer's template and find the parts that the assistant writes.

The tokenizer's chat template is rendered turn by turn: the text before an assistant turn, with the generation
prompt, must begin the text after it. The rest is what the assistant writes, its end token included. A template
that re-writes earlier turns breaks that, and is an error that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from finetrial.errors import UserError
from finetrial.models.tokenise import kept_at_start, plain_ids, text_of
from finetrial.trial.chats import ASSISTANT
from finetrial.trial.examples import Message
from finetrial.trial.form import USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ChatPiece:
    """A stretch of the rendered chat. Trained pieces are what an assistant turn writes."""

    text: str
    trained: bool


def render(
    turns: Sequence[Message],
    *,
    tokenizer: PreTrainedTokenizerBase,
    origin: str,
    generation: bool,
    tools: Sequence[Any] = (),
) -> str:
    """The turns in the tokenizer's chat template; with `generation`, up to where the assistant begins to write."""
    if not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer has no chat template, and {origin} is shown as a chat",
            got=str(tokenizer.name_or_path or type(tokenizer).__name__),
            fix='Use a chat model, or set a template of your own such as `template: "{prompt}\\nassistant:"`.',
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [turn.as_row for turn in turns],
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=generation,
            )
        )
    except Exception as error:  # whatever the template's own code raises
        raise UserError(
            f"{origin}: the tokenizer's chat template refuses this chat",
            got=f"{' '.join(str(error).split()) or type(error).__name__}; roles "
            + ", ".join(turn.role for turn in turns),
        ) from None


def chat_prompt(
    turns: Sequence[Message], *, tokenizer: PreTrainedTokenizerBase, origin: str, tools: Sequence[Any] = ()
) -> str:
    """What the model is shown before the assistant writes."""
    return render(turns, tokenizer=tokenizer, origin=origin, generation=True, tools=tools)


def chat_pieces(
    turns: Sequence[Message],
    *,
    tokenizer: PreTrainedTokenizerBase,
    origin: str,
    assistant_loss: Literal["all", "last"],
    tools: Sequence[Any] = (),
) -> tuple[ChatPiece, ...]:
    """A chat that ends with an assistant turn, in pieces that join to its rendering."""
    answers = [i for i, turn in enumerate(turns) if turn.role == ASSISTANT]
    assert answers and answers[-1] == len(turns) - 1, "a chat is cut after its last assistant turn when it is read"
    if assistant_loss == "last":
        answers = answers[-1:]
    shown = partial(render, tokenizer=tokenizer, origin=origin, tools=tools)
    whole = shown(turns, generation=False)
    pieces: list[ChatPiece] = []
    written = 0
    for index in answers:
        before = shown(turns[:index], generation=True)
        after = shown(turns[: index + 1], generation=False)
        if not (whole.startswith(before) and whole.startswith(after) and len(before) < len(after)):
            last = assistant_loss == "last"
            raise UserError(
                f"{origin}: the chat template writes earlier turns differently once turn {index + 1} follows, "
                "so what the assistant wrote cannot be told from the rest",
                fix="Give the trial a `template` of its own." if last else "Set `assistant_loss: last` under data.",
            )
        pieces += [ChatPiece(whole[written : len(before)], False), ChatPiece(whole[len(before) : len(after)], True)]
        written = len(after)
    return tuple(piece for piece in pieces if piece.text)


def with_shorter_question(
    turns: Sequence[Message], *, tokens: int, tokenizer: PreTrainedTokenizerBase
) -> tuple[Message, ...] | None:
    """The chat with so many tokens less in its last user turn, taken where a long prompt is cut; None where that
    turn has no more to give."""
    place = next((i for i in range(len(turns) - 1, -1, -1) if turns[i].role == USER), None)
    if place is None:
        return None
    ids = plain_ids(turns[place].content, tokenizer=tokenizer)
    room = len(ids) - tokens
    if room < 1:
        return None
    start = kept_at_start(room)
    before, after = (
        text_of(part, tokenizer=tokenizer) if part else ""
        for part in (ids[:start], ids[len(ids) - (room - start) :])
    )
    # a character of several tokens may be cut apart
    text = before.rstrip("\ufffd") + after.lstrip("\ufffd")
    if not text or len(text) >= len(turns[place].content):
        return None
    return (*turns[:place], replace(turns[place], content=text), *turns[place + 1 :])


def without_oldest_turn(turns: Sequence[Message]) -> tuple[Message, ...] | None:
    """The chat without its oldest exchange after any system turns; None when only the last question is left.

    An exchange goes whole, up to the next user turn, so that the roles still alternate.
    """
    first = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    following = next((i for i in range(first + 1, len(turns)) if turns[i].role == "user"), None)
    if following is None:
        return None
    return (*turns[:first], *turns[following:])
