"""Read prompts of one's own, that belong to no split: a list in a file, or lines that are typed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from finetrial.errors import UserError
from finetrial.trial.drafts import data_of_rows, read_drafts
from finetrial.trial.examples import Example
from finetrial.trial.rows import read_file
from finetrial.trial.schema import Data


def own_prompt(text: str, *, origin: str) -> Example:
    """A line as a prompt. Its id, and so its random numbers, follow from its text alone."""
    return _named(Example(id="", origin=origin, prompt=text, references=(), fields={}))


def _named(example: Example) -> Example:
    """With an id that its text decides, so that a prompt is answered alike wherever it stands."""
    return replace(example, id=f"own-{hashlib.sha256(example.prompt.encode()).hexdigest()[:12]}")


def own_lines(lines: Iterable[str], *, name: str) -> tuple[Example, ...]:
    """One prompt a line; blank lines are none. Raises UserError where there is no prompt."""
    texts = ((number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1))
    return _each_once([own_prompt(text, origin=f"{name}:{n}") for n, text in texts if text.strip()], name=name)


def read_own_prompts(path: Path, *, data: Data) -> tuple[Example, ...]:
    """The prompts of a file, each once: lines of a text file, else the prompt column of rows.

    A row's other columns fill the template, and its completions, where it has any, are its references. Raises
    UserError where no prompt is found.
    """
    table = read_file(path)
    if table.lines_of_text:
        return own_lines((row.values["text"] for row in table.rows), name=table.name)
    drafts = read_drafts(table, data=data_of_rows(data, table), prompts_alone=True)
    return _each_once([_named(draft.example) for draft in drafts], name=table.name)


def _each_once(examples: Sequence[Example], *, name: str) -> tuple[Example, ...]:
    if not examples:
        raise UserError(f"{name} holds no prompts", expected="a prompt a line, or rows with a column `prompt`")
    return tuple({example.id: example for example in reversed(examples)}.values())[::-1]
