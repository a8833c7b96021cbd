"""Cut running text into prompts and completions.

Into windows that do not overlap: `prefix` units are the prompt, the next `continuation` units the completion. A
completion begins with the white space that stood between them, so prompt and completion join to the text itself.
Blank lines are no lines. What is left at the end and fills no window is not used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from finetrial.trial.rows import Row
from finetrial.trial.schema import TextFormat


@dataclass(frozen=True, slots=True)
class Window:
    """One prompt with its continuation and where it begins."""

    origin: str
    number: int  # of the line it begins in; for a column of documents, of the row
    part: int  # 0-based count of windows within one row; 0 throughout a text file
    prompt: str
    completion: str


@dataclass(frozen=True, slots=True)
class _Unit:
    text: str
    row: Row


_JOINTS = {"line": "\n", "paragraph": "\n\n", "word": " "}


def _units(rows: Sequence[Row], *, column: str, unit: str) -> Iterator[_Unit]:
    """The units of rows that are the lines of one document."""
    if unit == "line":
        yield from (_Unit(str(row.values[column]).rstrip(), row) for row in rows if str(row.values[column]).strip())
    elif unit == "word":
        yield from (_Unit(word, row) for row in rows for word in str(row.values[column]).split())
    else:
        block: list[str] = []
        first: Row | None = None
        for row in rows:
            line = str(row.values[column]).rstrip()
            if line:
                first = first or row
                block.append(line)
            elif first is not None:
                yield _Unit("\n".join(block), first)
                block, first = [], None
        if first is not None:
            yield _Unit("\n".join(block), first)


def _windows(units: Sequence[_Unit], *, cut: TextFormat, parts: bool) -> Iterator[Window]:
    joint, size = _JOINTS[cut.unit], cut.prefix + cut.continuation
    for part, start in enumerate(range(0, len(units) - size + 1, size)):
        texts = [unit.text for unit in units[start : start + size]]
        row = units[start].row
        yield Window(
            origin=row.origin,
            number=row.number,
            part=part if parts else 0,
            prompt=joint.join(texts[: cut.prefix]),
            completion=joint + joint.join(texts[cut.prefix :]),
        )


def cut_lines(rows: Sequence[Row], *, column: str, cut: TextFormat) -> list[Window]:
    """The windows of a text file whose rows are its lines. Several windows of words may begin in one line."""
    units = list(_units(rows, column=column, unit=cut.unit))
    return list(_windows(units, cut=cut, parts=cut.unit == "word"))


def cut_documents(rows: Sequence[Row], *, column: str, cut: TextFormat) -> list[Window]:
    """The windows of rows that are whole documents; no window reaches from one document into the next."""
    windows: list[Window] = []
    for row in rows:
        lines = [Row(row.origin, row.number, {column: line}) for line in re.split(r"\r?\n", row.values[column])]
        windows += _windows(list(_units(lines, column=column, unit=cut.unit)), cut=cut, parts=True)
    return windows
