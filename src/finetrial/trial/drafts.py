"""Make examples of rows.

A row of a prompt/completion source, a chat or a window of running text becomes a draft: an example whose split,
and so whose id, is not settled yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetrial.errors import Mistakes, UserError, make_all
from finetrial.trial.chats import (
    ASSISTANT,
    chat_of,
    ends_with_answer,
    read_tools,
    read_turns,
    readable,
    whole_chat,
)
from finetrial.trial.columns import CHAT_COLUMNS, CHOSEN, Columns, find_chat_column, find_columns, find_text_column
from finetrial.trial.examples import Example
from finetrial.trial.rows import EmptyText, Row, Table
from finetrial.trial.running_text import cut_documents, cut_lines
from finetrial.trial.schema import Data
from finetrial.trial.shingles import normalised
from finetrial.trial.values import as_text, holds_json, is_scalar

ID_COLUMN = "id"
TOOLS_COLUMN = "tools"  # of chats: the functions that the assistant may call, as transformers and TRL name them


@dataclass(frozen=True, slots=True)
class Draft:
    """An example before its split, and so its id, is settled."""

    example: Example
    own_id: str | None
    place: str  # of the row within its source: "12", or "12.3" for the third window of row 12

    def key(self, *, whole: bool) -> str:
        """What keeps rows on one side of a cut: the group, else the prompt."""
        return f"group {self.example.group}" if self.example.group else compared_text(self.example, whole=whole)


def compared_text(example: Example, *, whole: bool) -> str:
    """The text by which two examples are the same: the prompt; for running text prompt and completion together,
    since a short prefix such as a speaker's name recurs innocently."""
    return normalised("".join((example.prompt, *example.references[:1])) if whole else example.prompt)


def _no_column(row: Row, column: str) -> UserError:
    return UserError(
        f"{row.origin} has no column {column!r}",
        got="columns " + ", ".join(map(str, row.values)),
        expected="the columns that the other rows have",
    )


def _text(row: Row, column: str, *, part: str) -> str:
    if column not in row.values:
        raise _no_column(row, column)
    value = row.values[column]
    if part == "completion" and is_scalar(value):
        value = _spelt(value, row, column)
    if value is not None and not isinstance(value, str):
        raise UserError(
            f"{row.origin}: the {part} in column {column!r} is not text",
            got=f"{type(value).__name__} {str(value)[:60]!r}",
            expected="a string",
            fix="Chats need `format: messages` under data." if isinstance(value, (list, dict)) else None,
        )
    if not value or not value.strip():
        raise EmptyText(f"{row.origin}: the {part} in column {column!r} is empty")
    return value


def _spelt(value: Any, row: Row, column: str) -> str:
    try:
        return as_text(value)
    except ValueError:
        what = f"{row.origin}: the completion in column {column!r} holds a number that JSON has no word for"
        raise UserError(what, got=str(value)[:60]) from None


def _is_blank(value: Any, *, as_json: bool) -> bool:
    """Whether a cell holds no completion: nothing, white space, or an empty list that is no JSON."""
    return value is None or (value == [] and not as_json) or (isinstance(value, str) and not value.strip())


def _references(row: Row, column: str | None, *, as_json: bool, prompts_alone: bool = False) -> tuple[str, ...]:
    """A row's completions; `as_json`: the column's objects and lists are JSON, each one completion."""
    if column is None or (prompts_alone and _is_blank(row.values.get(column), as_json=as_json)):
        return ()
    value = row.values.get(column)
    if as_json and isinstance(value, (dict, list, tuple)):
        return (_spelt(value, row, column),)
    if not isinstance(value, (list, tuple)):
        return (_text(row, column, part="completion"),)
    if not value:
        raise EmptyText(f"{row.origin}: the completion in column {column!r} is an empty list")
    parts = [Row(row.origin, row.number, {column: item}) for item in value]
    return tuple(_text(part, column, part="completion") for part in parts)


def _scalar(row: Row, column: str | None) -> str | None:
    """A group or an id as text; None when the row has none."""
    value: Any = row.values.get(column) if column else None
    if value is None or isinstance(value, (list, dict)):
        return None
    return str(value).strip() or None


def _text_fields(row: Row, *, without: str | None) -> dict[str, str]:
    """The row's text columns but the completion, which no template may show."""
    return {k: v for k, v in row.values.items() if isinstance(v, str) and k != without}


_DROP = "Fill them, or set `empty: drop` under data, which leaves such rows out."


def _of_rows(table: Table, make: Callable[[Row], Draft], *, data: Data, notes: list[str]) -> list[Draft]:
    """A draft of every row. Raises the mistakes of all rows at once; rows without a text are one of them, counted,
    or are left out with a note."""
    drafts: list[Draft] = []
    empty: list[EmptyText] = []
    mistakes = Mistakes()
    for row in table.rows:
        try:
            drafts.append(make(row))
        except EmptyText as error:
            empty.append(error)
        except UserError as error:
            mistakes.add(error)
    if empty and data.empty == "drop":
        where = ", ".join(str(error.what).partition(": ")[0] for error in empty[:3])
        more = f" and {len(empty) - 3:,} more" if len(empty) > 3 else ""
        notes.append(
            f"dropped {len(empty):,} of {len(table.rows):,} rows of {table.name}, whose prompt or completion is "
            f"empty: {where}{more}"
        )
    elif len(empty) == 1:
        mistakes.add(EmptyText(empty[0].what, got=empty[0].got, expected="text", fix=_DROP))
    elif empty:
        what = f"{len(empty):,} of {len(table.rows):,} rows of {table.name} have an empty prompt or completion"
        shown = "; ".join(error.what for error in empty[:3])
        mistakes.add(EmptyText(what, got=shown, expected="text", fix=_DROP))
    mistakes.raise_all()
    if not drafts:
        got = "; ".join((f"{len(table.rows):,} rows", *(error.what for error in empty[:1])))
        raise UserError(f"no row of {table.name} has a prompt and a completion", got=got)
    return drafts


def _pairs(table: Table, columns: Columns, *, data: Data, prompts_alone: bool, notes: list[str]) -> list[Draft]:
    answer = columns.completion
    as_json = answer is not None and holds_json(row.values.get(answer) for row in table.rows)

    def draft(row: Row) -> Draft:
        prompt = _text(row, columns.prompt, part="prompt")
        context = row.values.get(columns.context) if columns.context else None
        if isinstance(context, str) and context.strip():
            prompt = f"{prompt}\n\n{context}"
        example = Example(
            id="",
            origin=row.origin,
            prompt=prompt,
            references=_references(row, columns.completion, as_json=as_json, prompts_alone=prompts_alone),
            fields=_text_fields(row, without=columns.completion),
            group=_scalar(row, data.group),
            columns=row.values,
        )
        return Draft(example, _scalar(row, ID_COLUMN), str(row.number))

    return _of_rows(table, draft, data=data, notes=notes)


def _answer_column(table: Table, column: str, *, data: Data) -> str | None:
    """The column with the answer to chats that are prompts alone: the one named, or one of a usual name."""
    if data.completion is not None:
        return data.completion
    usual = (CHOSEN, "completion", "response") if column not in (CHOSEN, "messages") else ()
    held = chat_of(table.rows[0].values.get(column)) if table.rows else None
    is_open = isinstance(held, (list, tuple)) and not ends_with_answer(held)
    return next((name for name in usual if is_open and name in table.columns), None)


def _chats(table: Table, column: str, *, data: Data, prompts_alone: bool, notes: list[str]) -> list[Draft]:
    unanswered: list[str] = []
    answer = _answer_column(table, column, data=data)

    def draft(row: Row) -> Draft:
        if column not in row.values:
            raise _no_column(row, column)
        given = whole_chat(row.values[column], None if answer is None else row.values.get(answer))
        turns = read_turns(given, origin=row.origin, column=column, may_be_prompt=prompts_alone)
        if len(turns) < len(given):
            unanswered.append(row.origin)
        said = turns[-1].shown if turns[-1].role == ASSISTANT else None
        example = Example(
            id="",
            origin=row.origin,
            prompt=readable(turns if said is None else turns[:-1]),
            references=() if said is None else (said,),
            fields=_text_fields(row, without=column),
            group=_scalar(row, data.group),
            columns=row.values,
            messages=turns,
            tools=read_tools(row.values.get(TOOLS_COLUMN), origin=row.origin),
        )
        return Draft(example, _scalar(row, ID_COLUMN), str(row.number))

    drafts = _of_rows(table, draft, data=data, notes=notes)
    if unanswered:
        notes.append(
            "the turns after the last assistant turn are left out, for nothing answers them, in "
            f"{len(unanswered):,} of {len(table.rows):,} chats of {table.name}: {', '.join(unanswered[:3])}"
        )
    return drafts


def _windows(table: Table, *, data: Data) -> list[Draft]:
    cut = data.text_format
    assert cut is not None
    if table.lines_of_text:
        windows = cut_lines(table.rows, column="text", cut=cut)
        groups: Mapping[int, str | None] = {}
    else:
        column = find_text_column(table.columns, where=table.name, given=data.prompt)
        make_all(lambda row: _text(row, column, part="text"), table.rows)
        windows = cut_documents(table.rows, column=column, cut=cut)
        groups = {row.number: _scalar(row, data.group) for row in table.rows}
    if not windows:
        raise UserError(
            f"{table.name} is too short for one example",
            expected=f"at least {cut.prefix + cut.continuation} {cut.unit}s that are not blank",
        )
    return [
        Draft(
            Example(
                id="",
                origin=window.origin,
                prompt=window.prompt,
                references=(window.completion,),
                fields={},
                group=groups.get(window.number),
            ),
            None,
            str(window.number) + (f".{window.part + 1}" if cut.unit == "word" or groups else ""),
        )
        for window in windows
    ]


def data_of_rows(data: Data, table: Table) -> Data:
    """How rows that are not the trial's own are read: as the trial's are, less columns that they have not.

    Where they lack the trial's prompt column, or the trial is cut from running text, they are chats where they have
    a column of chats and no prompt, and pairs else.
    """
    here = data.prompt if data.prompt in table.columns else None
    changed: dict[str, object] = {"group": None, "prompt": here}
    if here is None or data.text_format is not None:
        chats = any(name in table.columns for name in CHAT_COLUMNS) and "prompt" not in table.columns
        changed["format"] = "messages" if chats else "prompt_completion"
    return data.model_copy(update=changed)


def read_drafts(
    table: Table, *, data: Data, prompts_alone: bool = False, notes: list[str] | None = None
) -> list[Draft]:
    """A source's rows as examples without ids. With `prompts_alone` they may lack a completion.

    Rows with a column `prompt` are prompts as they are then, for running text too, which is cut nowhere. `notes`
    takes what was left out, in words. Raises the mistakes of all rows at once.
    """
    said: list[str] = [] if notes is None else notes
    if data.group is not None and not table.lines_of_text and data.group not in table.columns:
        raise UserError(
            f"{table.name} has no column {data.group!r} for data.group",
            expected="one of " + ", ".join(table.columns),
        )
    if data.text_format is not None:
        if prompts_alone and not table.lines_of_text and "prompt" in table.columns:
            return _pairs(table, _prompt_columns(table), data=data, prompts_alone=True, notes=said)
        return _windows(table, data=data)
    if table.lines_of_text:
        raise UserError(
            f"{table.name} is plain text and has no columns",
            fix="Set `format: {text: {unit: line, prefix: 1, continuation: 4}}` under data.",
        )
    if data.format == "messages":
        column = find_chat_column(table.columns, where=table.name, given=data.prompt)
        return _chats(table, column, data=data, prompts_alone=prompts_alone, notes=said)
    found = find_columns(
        table.columns,
        where=table.name,
        prompt=data.prompt,
        completion=data.completion,
        prompts_alone=prompts_alone,
    )
    return _pairs(table, found, data=data, prompts_alone=prompts_alone, notes=said)


def _prompt_columns(table: Table) -> Columns:
    """The columns `prompt` and, where there is one, `completion`."""
    return Columns("prompt", "completion" if "completion" in table.columns else None)
