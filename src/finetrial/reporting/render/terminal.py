"""Write what is brief of a report for a terminal of 80 columns, without the tables' notes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import assert_never

from finetrial.reporting.document import (
    Block,
    Commands,
    Document,
    Equations,
    Excerpt,
    Facts,
    Figure,
    Folded,
    Heading,
    Notice,
    Paragraph,
    Table,
    TableCell,
    Transcript,
    plain,
)
from finetrial.reporting.formats import score
from finetrial.reporting.render.split_columns import split_columns
from finetrial.reporting.safe_text import one_line, visible

WIDTH = 80
_GAP = "  "
_LONGEST_HEAD = 24


def _wrap(text: str, *, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(visible(text), WIDTH, initial_indent=first, subsequent_indent=then)


def _item(text: str, *, indent: str = "  ") -> list[str]:
    return _wrap(text, first=f"{indent}- ", then=f"{indent}  ")


def _cells(cells: Sequence[TableCell]) -> list[list[str]]:
    """A column's cells as lines; the best are starred, and the others' numbers stand above theirs all the same."""
    starred = any(cell.best for cell in cells)
    return [
        [cell.text + ("*" if cell.best else " " * starred), *(line + " " * starred for line in cell.lines)]
        for cell in cells
    ]


def _stack(columns: Sequence[list[str]], *, widths: Sequence[int], n_left: int) -> Iterable[str]:
    """Cells of several lines side by side, the first `n_left` columns to the left."""
    height = max(map(len, columns))
    for line in range(height):
        cells = [column[line] if line < len(column) else "" for column in columns]
        sides = (
            cell.ljust(width) if place < n_left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        yield _GAP.join(sides).rstrip()


def _table(table: Table) -> Iterable[str]:
    """A table whose columns are divided into parts where they do not fit side by side."""
    heads = [table.first, *(one_line(plain(row.head), longest=_LONGEST_HEAD) for row in table.rows)]
    columns = [
        [textwrap.wrap(title, 12, break_long_words=False), *_cells([row.cells[place] for row in table.rows])]
        for place, title in enumerate(table.columns)
    ]
    widths = [max(len(line) for cell in column for line in cell) for column in columns]
    first = max(map(len, heads))
    if table.title is not None:
        yield visible(table.title)
    for place, part in enumerate(split_columns([len(_GAP) + w for w in widths], first=first, room=WIDTH)):
        yield from [""] * bool(place)
        for line, head in enumerate(heads):
            row = [[visible(head)], *([visible(text) for text in columns[i][line]] for i in part)]
            yield from _stack(row, widths=[first, *(widths[i] for i in part)], n_left=1 + table.n_text)
    if any(cell.best for row in table.rows for cell in row.cells):
        yield "* best"


def _transcript(one: Transcript) -> Iterable[str]:
    yield f"=== PROMPT {one.number} ==="
    yield from _wrap(one.source)
    for text in one.references:
        yield from _wrap(f"Reference: {text}")
    for row in one.answers:
        for completion in row.completions:
            known = "" if completion.score is None else f" ({score(completion.score)})"
            yield from _wrap(f"{row.arm} {completion.letter}{known}: {completion.text or '(no text)'}")


def block_lines(block: Block) -> Iterable[str]:
    """One block as lines of at most 80 characters, longer only where a name is."""
    match block:
        case Heading(text):
            yield visible(text)
        case Paragraph(text):
            yield from _wrap(plain(text))
        case Notice(texts, title):
            if title is None:
                for text in texts:
                    yield from _wrap(text)
            else:
                yield f"{visible(title)}:"
                for text in texts:
                    yield from _item(text)
        case Facts(rows):
            for fact in rows:
                yield from _item(f"{fact.label}: {plain(fact.text)}")
                for text in fact.more:
                    yield from _item(plain(text), indent="    ")
        case Table():
            yield from _table(block)
        case Figure(drawing):
            yield from _wrap(drawing.description)
        case Equations(equations):
            for equation in equations:
                yield from _wrap(equation.text)
        case Commands(text):
            yield from (f"  {line}" for line in visible(text).splitlines())
        case Excerpt(label, text):
            yield from _wrap(f"{plain(label)}: {text}")
        case Folded(summary, blocks):
            yield visible(summary)
            for inner in blocks:
                yield from block_lines(inner)
        case Transcript():
            yield from _transcript(block)
        case _:
            assert_never(block)


def _section(title: str | None, blocks: tuple[Block, ...]) -> Iterable[str]:
    if title is not None:
        yield from ("", visible(title))
    for place, block in enumerate(blocks):
        titled = isinstance(block, Notice) or (isinstance(block, Table) and block.title is not None)
        if place and (titled or isinstance(blocks[place - 1], Notice)):
            yield ""
        yield from block_lines(block)


def render_terminal(document: Document) -> str:
    """The verdict with its warnings, and of every section what it has for a terminal."""
    lead = tuple(block for block in document.lead.blocks if not isinstance(block, Figure))  # the words say it all
    lines = list(_section(None, lead))
    for section in document.sections:
        if section.brief:
            lines += _section(section.title, section.brief)
    return "\n".join(lines)
