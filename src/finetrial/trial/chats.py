"""Read the turns of chat rows, and tell the prompt from the answer.

A turn is {role, content}, or {from, value} as in ShareGPT files; a chat is a list of turns, or the JSON of one. The
prompt is every turn before the last assistant turn; turns after it are left out, for nothing answers them. What a
turn holds besides (tool calls, reasoning) is kept for the chat template, which decides what becomes of it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from finetrial.errors import UserError
from finetrial.trial.examples import TOOL_CALLS, Message
from finetrial.trial.rows import EmptyText

ASSISTANT = "assistant"
# The names that ShareGPT files and older interfaces give to the roles.
_ROLES: Mapping[str, str] = {
    **dict.fromkeys(("gpt", "bot", "chatgpt", "model"), ASSISTANT),
    "human": "user",
    **dict.fromkeys(("observation", "function"), "tool"),
}
_CALL_ROLE = "function_call"  # of ShareGPT files: an assistant turn that is a tool call, as JSON
_READ = ("role", "from", "content", "value", "function_call")


def chat_of(value: Any) -> Any:
    """A cell's chat: a list as it is, and the list that a text spells, as JSON or as Python prints lists."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    for read in (json.loads, ast.literal_eval):  # pandas writes lists into CSV files as Python prints them
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    return value


def whole_chat(prompt: Any, answer: Any) -> Any:
    """A cell's chat with the answer that stands in another cell: a text, a turn, or a list of turns."""
    turns, said = chat_of(prompt), chat_of(answer)
    if said is None or not isinstance(turns, (list, tuple)):
        return turns
    if isinstance(said, str):
        said = [{"role": ASSISTANT, "content": said}]
    return [*turns, *([said] if isinstance(said, Mapping) else said)]


def ends_with_answer(turns: Sequence[Any]) -> bool:
    """Whether the last turn of a chat is the assistant's."""
    last = turns[-1] if turns else None
    role = last.get("role", last.get("from")) if isinstance(last, Mapping) else None
    return isinstance(role, str) and (_ROLES.get(role.lower(), role) == ASSISTANT or role == _CALL_ROLE)


def is_chat(value: Any) -> bool:
    """Whether a cell holds turns."""
    found = chat_of(value)
    return isinstance(found, (list, tuple)) and bool(found) and isinstance(found[0], Mapping)


def read_turns(value: Any, *, origin: str, column: str, may_be_prompt: bool = False) -> tuple[Message, ...]:
    """The turns of a chat, up to and with the last assistant turn.

    With `may_be_prompt` a chat whose last turn is another's is a prompt: all its turns.
    """
    given = chat_of(value)
    if not isinstance(given, (list, tuple)) or not given:
        raise UserError(
            f"{origin}: the column {column!r} is not a chat",
            got="nothing" if not given else type(given).__name__,
            expected="a list of {role, content}, or its JSON",
        )
    turns = [_turn(turn, number=number, origin=origin) for number, turn in enumerate(given, start=1)]
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
    if not turns[answers[-1]].shown.strip():
        raise EmptyText(f"{origin}: the completion is empty", got="a last assistant turn without text")
    return tuple(turns[: answers[-1] + 1])


def read_prompt_turns(value: Any, *, origin: str) -> tuple[Message, ...]:
    """The turns of a chat that is a prompt: all of them, whoever speaks last."""
    given = chat_of(value)
    if not isinstance(given, (list, tuple)) or not given:
        raise UserError(
            f"{origin}: the prompt is not a chat", got=type(given).__name__, expected="a list of {role, content}"
        )
    return tuple(_turn(turn, number=number, origin=origin) for number, turn in enumerate(given, start=1))


def read_tools(value: Any, *, origin: str) -> tuple[Any, ...]:
    """The tools that a row offers, as chat templates take them: a list of functions, or its JSON."""
    given = chat_of(value)
    if given is None or given == "" or given == []:
        return ()
    if not isinstance(given, (list, tuple)) or not all(isinstance(tool, Mapping) for tool in given):
        raise UserError(
            f"{origin}: the tools are no list of functions", got=str(value)[:60], expected="a list of objects"
        )
    return tuple(
        dict(tool) if "function" in tool or "type" in tool else {"type": "function", "function": dict(tool)}
        for tool in given
    )


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
    extra = {str(key): item for key, item in value.items() if key not in _READ and item not in (None, [], "")}
    calls = _calls(value, role=role, content=content)
    if calls:
        extra[TOOL_CALLS] = calls
    if role == _CALL_ROLE and calls:
        return Message(role=ASSISTANT, content="", extra=extra)
    if content is None and extra:
        content = ""  # the turn is a call, or reasoning
    return Message(role=_ROLES.get(role.lower(), role), content=_content(content, where=where), extra=extra)


def _content(value: Any, *, where: str) -> str:
    """A turn's text. Text parts are joined by line breaks, as vLLM's OpenAI interface joins them."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and value:
        texts: list[str] = []
        other: Any = None
        for part in value:
            text = part.get("text") if isinstance(part, Mapping) else part
            if isinstance(text, str):
                texts.append(text)
            else:
                other = part
        if len(texts) == len(value):
            return "\n".join(texts)
        kind = other.get("type", "an object") if isinstance(other, Mapping) else type(other).__name__
        raise UserError(
            f"{where}: a part of the content is not text",
            got=str(kind),
            expected="parts such as {type: text, text}",
        )
    got = "nothing" if value is None else type(value).__name__
    raise UserError(f"{where}: the content is not text", got=got, expected="a string, or a list of text parts")


def _calls(turn: Mapping[str, Any], *, role: str, content: Any) -> list[Any]:
    """A turn's tool calls as chat templates take them, their arguments as an object."""
    given = turn.get(TOOL_CALLS) or ()
    if turn.get("function_call"):
        given = (*given, turn["function_call"])
    if role == _CALL_ROLE:
        given = content if isinstance(content, list) else (_parsed(content),)
    return [_call(call) for call in given if isinstance(call, Mapping)]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    inner = call.get("function")
    function = (
        dict(inner)
        if isinstance(inner, Mapping)
        else {key: call[key] for key in ("name", "arguments") if key in call}
    )
    if "arguments" in function:
        function["arguments"] = _parsed(function["arguments"])
    rest = {key: item for key, item in call.items() if key not in ("function", "name", "arguments") and item}
    return {"type": "function", **rest, "function": function}


def _parsed(value: Any) -> Any:
    """What a text of JSON spells; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def readable(turns: Sequence[Message]) -> str:
    """The turns as a person reads them: a single user turn by itself, else `role: text` line by line."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].shown
    return "\n".join(f"{turn.role}: {turn.shown}" for turn in turns)
