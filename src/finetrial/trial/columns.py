"""Find the columns that hold the prompt and the completions.

A mapping in the trial file decides; else the default names `prompt` and `completion`; else the usual pairs.
Where two pairs would do, or none, the error lists the columns that are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import UserError, nearest, unknown_name

CHOSEN = "chosen"  # of preference data: the better of two answers, beside `rejected`
# Pairs in common use, each prompt with the completions it goes with. Lists of references have plural names.
PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("prompt", ("completion", "completions", "references", "response", "output", "answer", "reference", CHOSEN)),
    ("instruction", ("output", "response", "completion", CHOSEN)),
    ("question", ("answer", "answers", "response", CHOSEN)),
    ("query", ("response", "answer", "output")),
    ("document", ("summary", "summaries")),
    ("article", ("summary", "highlights")),
    ("dialogue", ("summary",)),
    ("text", ("summary",)),
    ("source", ("target", "targets")),
    ("input", ("output", "target")),
)
CHAT_COLUMNS = ("messages", "conversations", "conversation", "chat")
TEXT_COLUMNS = ("text", "content")


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that hold the parts of an example."""

    prompt: str
    completion: str | None  # None: the rows are prompts alone
    context: str | None = None  # Alpaca's `input`, which follows the instruction after a blank line


def _named(columns: Sequence[str], name: str) -> str | None:
    """The column of this name, whatever its capitals."""
    if name in columns:
        return name
    return next((column for column in columns if column.lower() == name), None)


def find_columns(
    columns: Sequence[str], *, where: str, prompt: str | None, completion: str | None, prompts_alone: bool = False
) -> Columns:
    """The columns of a prompt/completion source; `prompt` and `completion` are the trial file's mapping.

    With `prompts_alone` the source may have no column of completions.
    """
    has_prompt, has_completion = prompt is None or prompt in columns, completion in columns
    if prompts_alone and has_prompt and not has_completion:
        pairs = usual_pairs(columns, prompt=prompt, completion=None) if completion is None else ()
        if not pairs:
            return Columns(find_prompt_column(columns, where=where, given=prompt), None)
    for name in (prompt, completion):
        if name is not None and name not in columns:
            raise unknown_name(f"column of {where}", name, columns)
    if prompt is not None and completion is not None:
        return Columns(prompt, completion)
    if prompt is None and completion is None:
        usual = _named(columns, "prompt"), _named(columns, "completion")
        if usual[0] is not None and usual[1] is not None:
            return Columns(usual[0], usual[1])
    found = usual_pairs(columns, prompt=prompt, completion=completion)
    if len(found) == 1:
        pair = found[0]
        if prompt is None and pair.prompt.lower() == "instruction":
            return Columns(pair.prompt, pair.completion, context=_named(columns, "input"))
        return pair
    raise _unclear(columns, found, where=where, prompt=prompt, completion=completion)


def find_prompt_column(columns: Sequence[str], *, where: str, given: str | None) -> str:
    """The column of a source of prompts alone: the one given, the first of a usual name, or the only one."""
    if given is not None:
        if given not in columns:
            raise unknown_name(f"column of {where}", given, columns)
        return given
    found = next((name for usual, _ in PAIRS if (name := _named(columns, usual)) is not None), None)
    if found is None and len(columns) == 1:
        found = columns[0]
    if found is None:
        raise UserError(
            f"{where} has no column that is known as prompt",
            got=f"columns {', '.join(columns) or 'none'}",
            fix="Name it with `prompt:` under data.",
        )
    return found


def usual_pairs(columns: Sequence[str], *, prompt: str | None, completion: str | None) -> list[Columns]:
    """The pairs of the columns that fit the usual names and the half of the mapping that was given.

    `input` is the instruction's context where there is an instruction, not a prompt of its own.
    """
    found: dict[tuple[str, str], Columns] = {}
    prompts = [(prompt, _completions_of(prompt))] if prompt is not None else PAIRS
    for name, completions in prompts:
        mine = prompt if prompt is not None else _named(columns, name)
        if mine is None or mine == completion:
            continue
        if prompt is None and name == "input" and _named(columns, "instruction"):
            continue
        theirs = [completion] if completion is not None else [_named(columns, c) for c in completions]
        for other in theirs:
            if other is not None and other != mine:
                found[mine, other] = Columns(mine, other)
    return list(found.values())


def _completions_of(prompt: str) -> tuple[str, ...]:
    """The completion names that go with a prompt column; every usual one where the prompt's name is not usual."""
    usual = dict(PAIRS).get(prompt.lower())
    return usual or tuple(dict.fromkeys(name for _, names in PAIRS for name in names))


def _unclear(
    columns: Sequence[str], found: Sequence[Columns], *, where: str, prompt: str | None, completion: str | None
) -> UserError:
    there = ", ".join(columns) or "none"
    if found:
        pairs = " or ".join(f"{pair.prompt}/{pair.completion}" for pair in found)
        first = found[0]
        return UserError(
            f"the columns of {where} can be read in more than one way: {pairs}",
            got=f"columns {there}",
            fix=f"Say which, such as `prompt: {first.prompt}` and `completion: {first.completion}` under data.",
        )
    chat = next((name for name in CHAT_COLUMNS if _named(columns, name)), None)
    if chat is not None:
        return UserError(
            f"{where} holds chats, not prompts and completions",
            got=f"columns {there}",
            fix="Set `format: messages` under data.",
        )
    what = (
        "prompt and completion" if prompt is None and completion is None else "completion" if prompt else "prompt"
    )
    usual = [p for p, _ in PAIRS] if prompt is None else list(_completions_of(prompt))
    close = next((c for c in columns if nearest(c, usual)), None)
    guess = f"; {close!r} is the nearest" if close else ""
    return UserError(
        f"{where} has no columns that are known as {what}",
        got=f"columns {there}{guess}",
        expected="prompt/completion, instruction/output, question/answer, query/response, text/summary",
        fix="Name them with `prompt:` and `completion:` under data.",
    )


def find_chat_column(columns: Sequence[str], *, where: str, given: str | None) -> str:
    """The column of a chat source that holds the list of turns; `given` is the mapping's `prompt`."""
    return _find_single(columns, CHAT_COLUMNS, where=where, given=given, what="chats", key="messages")


def find_text_column(columns: Sequence[str], *, where: str, given: str | None) -> str:
    """The column of a plain-text source that holds a document; `given` is the mapping's `prompt`."""
    return _find_single(columns, TEXT_COLUMNS, where=where, given=given, what="plain text", key="text")


def _find_single(
    columns: Sequence[str], usual: Sequence[str], *, where: str, given: str | None, what: str, key: str
) -> str:
    if given is not None:
        if given not in columns:
            raise unknown_name(f"column of {where}", given, columns)
        return given
    found = [name for name in (_named(columns, u) for u in usual) if name is not None]
    if len(found) == 1 or (found and found[0].lower() == key):
        return found[0]
    if found:
        raise UserError(
            f"more than one column of {where} may hold {what}",
            got=", ".join(found),
            fix=f"Say which, such as `prompt: {found[0]}` under data.",
        )
    raise UserError(
        f"{where} has no column with {what}",
        got=f"columns {', '.join(columns) or 'none'}",
        expected="one of " + ", ".join(usual),
        fix="Name it with `prompt:` under data, or set another `format:`.",
    )
