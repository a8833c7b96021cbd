"""Write a report in LaTeX: its tables, to be included in a paper, and the whole as an article.

Tables fit the column of a 10-point article: cells are stacked, and where columns do not fit side by side the table
goes on below.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import assert_never

from finetrial.reporting.document import (
    ArmName,
    Block,
    Code,
    Commands,
    Document,
    Equation,
    Equations,
    Excerpt,
    Facts,
    Figure,
    Folded,
    Heading,
    Inline,
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
    plain,
)
from finetrial.reporting.formats import score
from finetrial.reporting.render.split_columns import split_columns
from finetrial.reporting.safe_text import latex, plural

COLUMN_POINTS = 345.0  # \columnwidth of article at 10 points
# Widths of a character: Computer Modern's digits at these sizes (4.6 and 4.0 points), with room for wider letters.
_SMALL_POINTS, _SCRIPT_POINTS = 5.2, 4.3
_SEPARATOR_POINTS = 4.0  # \tabcolsep, set in every table; two a column
_FITTING = r"\ifdim\width>\columnwidth\columnwidth\else\width\fi"  # of a box: its own width, the column's at most
_LONGEST_HEAD, _LONGEST_TITLE = 26, 13  # characters of a line
_PREAMBLE = (
    r"\documentclass{article}",
    rf"\usepackage[a4paper,textwidth={COLUMN_POINTS:g}pt,vmargin=2.5cm]{{geometry}}",
    r"\usepackage{amsmath,booktabs,float,graphicx}",
    r"\floatplacement{table}{H}\floatplacement{figure}{H}",  # where the words are that speak of them
    r"\setlength{\parindent}{0pt}\setlength{\parskip}{1ex}\raggedright",
)
_POWER = re.compile(r"10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_STACK = r"\providecommand{\stacked}[2][r]{\begin{tabular}[t]{@{}#1@{}}#2\end{tabular}}"


def _number(text: str) -> str:
    """Text as TeX writes it, powers of ten included."""
    return _POWER.sub(lambda match: f"$10^{{{match[1].translate(_DIGITS)}}}$", latex(text))


def _inline(part: Inline) -> str:
    match part:
        case str():
            return " " * part.startswith(" ") + _number(part) + " " * part.endswith(" ")
        case ArmName(name):
            return rf"\textsf{{{latex(name)}}}"
        case Code(text):
            return rf"\texttt{{{latex(text)}}}"
        case Quote(text):
            return f"``{latex(text)}''"
    assert_never(part)


def _text(text: Text) -> str:
    return "".join(map(_inline, parts(text))).strip()


def _code(text: Text) -> str:
    """A hash or signature, which may be broken anywhere."""
    pieces = textwrap.wrap(plain(text), 8, break_on_hyphens=False)
    return r"{\scriptsize\ttfamily " + r"\allowbreak{}".join(map(latex, pieces)) + "}"


def _stack(lines: Sequence[str], *, side: str) -> str:
    """Lines over each other in one cell."""
    inside = r" \\ ".join(lines)
    return inside if len(lines) < 2 else rf"\stacked[{side}]{{{inside}}}"


def _wrapped(text: str, *, longest: int) -> list[str]:
    return textwrap.wrap(text, longest, break_long_words=False, break_on_hyphens=False) or [""]


def _cell(cell: TableCell, *, side: str) -> str:
    value = rf"\textbf{{{_number(cell.text)}}}" if cell.best else _number(cell.text)
    return _stack([value, *(rf"{{\scriptsize {_number(line)}}}" for line in cell.lines)], side=side)


def _points(lines: Iterable[str], *, small: Iterable[str] = ()) -> float:
    """How wide a column is, by an estimate for each character."""
    wide = [*(_SMALL_POINTS * len(line) for line in lines), *(_SCRIPT_POINTS * len(line) for line in small)]
    return max(wide, default=0.0) + 2 * _SEPARATOR_POINTS


def _column_points(title: str, cells: Sequence[TableCell]) -> float:
    lines = [*_wrapped(title, longest=_LONGEST_TITLE), *(cell.text for cell in cells)]
    return _points(lines, small=(line for cell in cells for line in cell.lines))


def _head(row: TableRow) -> list[str]:
    return _wrapped(plain(row.head), longest=_LONGEST_HEAD)


def table_lines(table: Table, *, caption: str) -> Iterable[str]:
    """A table as a float, with booktabs. What is said about a row is left out."""
    columns = [[row.cells[place] for row in table.rows] for place in range(len(table.columns))]
    widths = [_column_points(title, cells) for title, cells in zip(table.columns, columns, strict=True)]
    first = _points([table.first, *(line for row in table.rows for line in _head(row))])
    yield from (
        r"\begin{table}",
        rf"  \centering\small\setlength{{\tabcolsep}}{{{_SEPARATOR_POINTS:g}pt}}",
        r"  \setlength{\belowcaptionskip}{1ex}",
        rf"  \caption{{{_number(caption)} {_number(table.note)}}}",
        rf"  \label{{tab:{table.name}}}",
    )
    for place, part in enumerate(split_columns(widths, first=first, room=COLUMN_POINTS)):
        yield from [r"  \\[1ex]"] * bool(place)
        sides = ["l" if i < table.n_text else "r" for i in part]
        titles = [
            _stack([latex(line) for line in _wrapped(table.columns[i], longest=_LONGEST_TITLE)], side=side)
            for i, side in zip(part, sides, strict=True)
        ]
        yield rf"  \begin{{tabular}}{{l{''.join(sides)}}}"
        yield r"    \toprule"
        yield "    " + " & ".join([latex(table.first), *titles]) + r" \\"
        yield r"    \midrule"
        stacked = any(cell.lines for row in table.rows for cell in row.cells)
        for place, row in enumerate(table.rows):
            yield from [r"    \addlinespace"] * (stacked and place > 0)
            cells = [_cell(row.cells[i], side=side) for i, side in zip(part, sides, strict=True)]
            yield "    " + " & ".join([_stack([latex(line) for line in _head(row)], side="l"), *cells]) + r" \\"
        yield r"    \bottomrule"
        yield r"  \end{tabular}"
    yield r"\end{table}"


def _items(texts: Iterable[str]) -> Iterable[str]:
    yield r"\begin{itemize}"
    yield from (rf"  \item {text}" for text in texts)
    yield r"\end{itemize}"


def _listed(facts: Facts) -> Iterable[str]:
    yield r"\begin{description}"
    show = _code if facts.code else _text
    for fact in facts.rows:
        texts = [show(text) for text in (fact.text, *fact.more)]
        yield rf"  \item[{latex(fact.label)}] " + r" \\ ".join(texts)
    yield r"\end{description}"


def _equation(equation: Equation) -> Iterable[str]:
    """A display formula, made smaller where it is wider than the column, and where it comes from."""
    first, *more = (rf"&= {right.latex}" for right in equation.right)
    lines = (rf"{equation.left.latex} {first}", *more)
    inner = " \\\\ ".join(lines)
    inner = rf"\begin{{aligned}} {inner} \end{{aligned}}"
    inner = rf"\resizebox{{{_FITTING}}}{{!}}{{$\displaystyle {inner}$}}"
    yield rf"\[ {inner} \]"
    if equation.about:
        yield rf"{{\small {_number(equation.about)}\par}}"


def _body(text: str, *, left_out: int, font: str = r"\small") -> Iterable[str]:
    """A text with its own line ends."""
    more = f" … {left_out} more characters" if left_out else ""
    lines = (latex(line) or r"\ " for line in f"{text or '(no text)'}{more}".split("\n"))
    yield rf"\begin{{quote}}{font}\raggedright"
    yield " \\\\\n".join(f"{{}}{line}" for line in lines)
    yield r"\end{quote}"


def _transcript(one: Transcript) -> Iterable[str]:
    yield rf"\subsubsection*{{=== PROMPT {one.number} ===}}"
    yield from _body(one.source, left_out=one.source_left_out)
    for text in one.references:
        yield r"\paragraph{Reference}"
        yield from _body(text, left_out=0)
    for row in one.answers:
        for completion in row.completions:
            known = [score(completion.score)] if completion.score is not None else []
            known += [completion.ending] if completion.ending is not None else []
            known = [completion.judged, *known] if completion.judged is not None else known
            said = f" ({', '.join(known)})" if known else ""
            yield rf"\paragraph{{{latex(f'{row.arm} {completion.letter}')}}}{_number(said)}"
            yield from _body(completion.text, left_out=completion.left_out)


def block_lines(block: Block, *, caption: str) -> Iterable[str]:
    """One block as lines of LaTeX. `caption` is that of a table without a title of its own."""
    match block:
        case Heading(text):
            yield rf"\subsection*{{{latex(text)}}}"
        case Paragraph(text, tone):
            yield rf"\textbf{{{_text(text)}}}" if tone is Tone.VERDICT else _text(text)
        case Notice(texts, title):
            yield from () if title is None else [rf"\paragraph{{{latex(title)}}}"]
            yield from _items(map(_number, texts))
        case Facts():
            yield from _listed(block)
        case Table():
            yield from table_lines(block, caption=f"{block.title or caption}.")
        case Figure(drawing, caption_):
            yield r"\begin{figure}"
            yield rf"  \centering\includegraphics[width=\columnwidth]{{figures/{drawing.name}.png}}"
            yield rf"  \caption{{{_number(caption_)}}}"
            yield r"\end{figure}"
        case Equations(equations):
            for equation in equations:
                yield from _equation(equation)
        case Commands(text):
            yield from _body(text, left_out=0, font=r"\ttfamily\footnotesize")
        case Excerpt(label, text, left_out, _):
            yield rf"\paragraph{{{_text(label)}}}"
            yield from _body(text, left_out=left_out)
        case Folded(summary, blocks):
            yield rf"\subsection*{{{latex(summary)}}}"
            for inner in blocks:
                yield from block_lines(inner, caption=summary)
        case Transcript():
            yield from _transcript(block)
        case _:
            assert_never(block)


def _tables(blocks: Iterable[Block], *, caption: str) -> Iterable[str]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _tables(block.blocks, caption=block.summary)
        elif isinstance(block, Table) and block.rows and block.columns:
            yield from ("", *table_lines(block, caption=f"{block.title or caption}."))


def render_tables(document: Document) -> str:
    """tables.tex: every table of the report. Needs \\usepackage{booktabs}."""
    lines = [f"% Written by finetrial {document.version}; needs \\usepackage{{booktabs}}.", _STACK]
    for section in (document.lead, *document.sections):
        lines += _tables(section.blocks, caption=f"{document.title}: {section.title}")
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterable[str]:
    later = [block for block in section.blocks if isinstance(block, Transcript) and not block.is_open]
    yield rf"\section*{{{latex(section.title)}}}"
    for block in section.blocks:
        if block not in later:
            yield from block_lines(block, caption=section.title)
            yield ""
    if later:
        yield f"{plural(len(later), 'more prompt')} shown in index.html."


def render_article(document: Document) -> str:
    """report.tex: the whole report, with the transcripts that the page shows opened. For xelatex or lualatex."""
    lines = [f"% Written by finetrial {document.version}; for xelatex or lualatex.", *_PREAMBLE, _STACK]
    lines += [
        rf"\title{{{latex(document.title)}}}",
        rf"\author{{{latex(', '.join(document.authors))}}}",
        r"\date{}",
    ]
    lines += [r"\begin{document}", r"\maketitle"]
    for block in document.lead.blocks:
        lines += [*block_lines(block, caption=document.lead.title), ""]
    for section in document.sections:
        lines += [*_section(section), ""]
    return "\n".join([*lines, r"\end{document}"]) + "\n"
