"""Read the turns of chat rows, and tell the prompt from the answer.

A turn is {role, content}, or {from, value} as in ShareGPT files. The prompt is every turn before the last assistant
turn; turns after it are left out, for nothing answers them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetrial.errors import UserError
from finetrial.trial.examples import Message
from finetrial.trial.rows import EmptyText

# The names that ShareGPT files give to the roles.
_ROLES: Mapping[str, str] = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}
ASSISTANT = "assistant"


def read_turns(value: Any, *, origin: str, column: str, may_be_prompt: bool = False) -> tuple[Message, ...]:
    """The turns of a chat, up to and with the last assistant turn.

    With `may_be_prompt` a chat whose last turn is another's is a prompt: all its turns.
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise UserError(
            f"{origin}: the column {column!r} is not a chat",
            got="nothing" if not value else type(value).__name__,
            expected="a list of {role, content}",
        )
    turns = [_turn(turn, number=number, origin=origin) for number, turn in enumerate(value, start=1)]
    if may_be_prompt and turns[-1].role != ASSISTANT:
        return tuple(turns)
    answers = [index for index, turn in enumerate(turns) if turn.role == ASSISTANT]
    if not answers:
        raise UserError(
            f"{origin} has no assistant turn",
            got="roles " + ", ".join(turn.role for turn in turns),
            expected="a last turn with role assistant",
        )
    if answers[-1] == 0:
        raise EmptyText(f"{origin}: the prompt is empty", got="a chat that begins with its only assistant turn")
    if not turns[answers[-1]].content.strip():
        raise EmptyText(f"{origin}: the completion is empty", got="a last assistant turn without text")
    return tuple(turns[: answers[-1] + 1])


def read_prompt_turns(value: Any, *, origin: str) -> tuple[Message, ...]:
    """The turns of a chat that is a prompt: all of them, whoever speaks last."""
    if not isinstance(value, (list, tuple)) or not value:
        raise UserError(
            f"{origin}: the prompt is not a chat", got=type(value).__name__, expected="a list of {role, content}"
        )
    return tuple(_turn(turn, number=number, origin=origin) for number, turn in enumerate(value, start=1))


def _turn(value: Any, *, number: int, origin: str) -> Message:
    where = f"{origin}, turn {number}"
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is not a turn", got=type(value).__name__, expected="{role, content}")
    role = value.get("role", value.get("from"))
    content = value.get("content", value.get("value"))
    if not isinstance(role, str) or not role:
        raise UserError(
            f"{where} has no role", got="keys " + ", ".join(map(str, value)), expected="role and content"
        )
    if not isinstance(content, str):
        got = "nothing" if content is None else type(content).__name__
        raise UserError(f"{where}: the content is not text", got=got, expected="a string")
    return Message(role=_ROLES.get(role.lower(), role), content=content)


def readable(turns: Sequence[Message]) -> str:
    """The turns as a person reads them: a single user turn by itself, else `role: text` line by line."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)
