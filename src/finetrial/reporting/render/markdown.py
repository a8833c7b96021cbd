"""Write a report as Markdown that GitHub renders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from finetrial.reporting.document import (
    ArmName,
    Block,
    Code,
    Commands,
    Completion,
    Document,
    Equation,
    Equations,
    Excerpt,
    Facts,
    Figure,
    Folded,
    Heading,
    Inline,
    Level,
    Notice,
    Paragraph,
    Quote,
    Section,
    Table,
    TableCell,
    TableRow,
    Text,
    Tone,
    Transcript,
    parts,
)
from finetrial.reporting.formats import score
from finetrial.reporting.safe_text import fenced, markdown, one_line, plural, visible

MOST_TRANSCRIPTS = 20  # the page has more


def _inline(part: Inline) -> str:
    match part:
        case str():
            return _spaced(part)
        case ArmName(name):
            return markdown(name)
        case Code(text):
            return markdown(one_line(text, longest=60))
        case Quote(text):
            return f"“{markdown(text)}”"
    assert_never(part)


def _spaced(text: str) -> str:
    """Escaped text that keeps the one space at its ends, which stands beside another part."""
    return " " * text.startswith(" ") + markdown(text) + " " * (text.endswith(" ") and bool(text.strip()))


def _text(text: Text) -> str:
    return "".join(map(_inline, parts(text))).strip()


def _cell(cell: TableCell) -> str:
    text = f"**{markdown(cell.text)}**" if cell.best else markdown(cell.text)
    return f"{text} ({markdown('; '.join(cell.lines))})" if cell.lines else text


def _head(row: TableRow) -> str:
    return _text(row.head) + (f": {markdown(row.about)}" if row.about else "")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(table: Table) -> Iterable[str]:
    """A pipe table; numbers to the right. The blank line before it is the caller's."""
    if table.title is not None:
        yield f"### {markdown(table.title)}"
    rules = ["---" if place < table.n_text else "---:" for place in range(len(table.columns))]
    lines = [_row(map(markdown, (table.first, *table.columns))), _row(["---", *rules])]
    lines += [_row([_head(row), *map(_cell, row.cells)]) for row in table.rows]
    yield "\n".join(lines)
    if table.note:
        yield markdown(table.note)


def _notice(notice: Notice) -> str:
    if notice.title is None:
        return "\n\n".join(map(markdown, notice.texts))
    title = f"**{markdown(notice.title)}:**" if notice.level is Level.GRAVE else f"{markdown(notice.title)}:"
    return f"{title}\n\n" + "\n".join(f"- {markdown(text)}" for text in notice.texts)


def _facts(facts: Facts) -> str:
    lines = []
    for fact in facts.rows:
        lines.append(f"- {markdown(fact.label)}: {_text(fact.text)}")
        lines += [f"  - {_text(text)}" for text in fact.more]
    return "\n".join(lines)


def _equation(equation: Equation) -> Iterable[str]:
    """A display formula in a fence, where nothing of Markdown is read, and where it comes from."""
    left, *more = (rf"&= {right.latex}" for right in equation.right)
    lines = [rf"{equation.left.latex} {left}", *more]
    inner = " \\\\\n".join(lines)
    yield f"```math\n\\begin{{aligned}}\n{inner}\n\\end{{aligned}}\n```"
    if equation.about:
        yield markdown(equation.about)


def _body(text: str, *, left_out: int) -> str:
    return fenced(f"{text or '(no text)'}{f' … {left_out} more characters' if left_out else ''}")


def _ending(completion: Completion) -> str:
    known = [score(completion.score)] if completion.score is not None else []
    if completion.ending is not None:
        known.append(f"**{completion.ending}**" if completion.is_truncated else completion.ending)
    if completion.judged is not None:
        known.insert(0, f"**{markdown(completion.judged)}**")
    return f" ({', '.join(known)})" if known else ""


def _transcript(one: Transcript) -> Iterable[str]:
    yield f"### === PROMPT {one.number} ==="
    yield _body(one.source, left_out=one.source_left_out)
    if one.references:
        yield "Reference" + "s" * (len(one.references) > 1)
        yield from map(fenced, one.references)
    for row in one.answers:
        yield f"#### {markdown(row.arm)}"
        for completion in row.completions:
            yield f"{completion.letter}{_ending(completion)}"
            yield _body(completion.text, left_out=completion.left_out)


def block_lines(block: Block) -> Iterable[str]:
    """One block as paragraphs of Markdown, to stand a blank line apart."""
    match block:
        case Heading(text):
            yield f"### {markdown(text)}"
        case Paragraph(text, tone):
            yield f"**{_text(text)}**" if tone is Tone.VERDICT else _text(text)
        case Notice():
            yield _notice(block)
        case Facts():
            yield _facts(block)
        case Table():
            yield from _table(block)
        case Figure(drawing, caption):
            yield f"![{markdown(drawing.description)}](figures/{drawing.name}.svg)"
            yield markdown(caption)
        case Equations(equations):
            for equation in equations:
                yield from _equation(equation)
        case Commands(text):
            yield f"```sh\n{visible(text)}\n```"
        case Excerpt(label, text, left_out, _):
            yield _text(label)
            yield _body(text, left_out=left_out)
        case Folded(summary, blocks):
            yield f"### {markdown(summary)}"
            for inner in blocks:
                yield from block_lines(inner)
        case Transcript():
            yield from _transcript(block)
        case _:
            assert_never(block)


def _section(section: Section) -> Iterable[str]:
    transcripts = [block for block in section.blocks if isinstance(block, Transcript)]
    later = transcripts[MOST_TRANSCRIPTS:]
    yield f"## {markdown(section.title)}"
    for block in section.blocks:
        if block not in later:
            yield from block_lines(block)
    if later:
        yield f"{plural(len(later), 'more prompt')} shown in index.html."


def render_markdown(document: Document) -> str:
    """report.md."""
    lines = [f"# {markdown(document.title)}"]
    if document.authors:
        lines.append(markdown(", ".join(document.authors)))
    for block in document.lead.blocks:
        lines += block_lines(block)
    for section in document.sections:
        lines += _section(section)
    lines.append(f"Written by finetrial {document.version}.")
    return visible("\n\n".join(lines)) + "\n"
