"""Define the report as typed blocks in sections; every form of a report is rendered from one Document.

A block says what there is to say and nothing of how it looks. A renderer handles every type named in `Block`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from finetrial.store.records import EndReason

if TYPE_CHECKING:
    from finetrial.reporting.results import Material


@dataclass(frozen=True, slots=True)
class ArmName:
    """An arm's name, in the arm's colour where there are colours."""

    name: str


@dataclass(frozen=True, slots=True)
class Code:
    """An identifier inside a sentence: the id of a sample, a file."""

    text: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Words taken from a sample."""

    text: str


Inline: TypeAlias = str | ArmName | Code | Quote
Text: TypeAlias = str | tuple[Inline, ...]


def parts(text: Text) -> tuple[Inline, ...]:
    """The parts of a text; a plain string is its own one part."""
    return (text,) if isinstance(text, str) else text


def plain(text: Text) -> str:
    """A text without its markup."""
    return "".join(
        part if isinstance(part, str) else part.name if isinstance(part, ArmName) else part.text
        for part in parts(text)
    )


class Tone(enum.StrEnum):
    """How much weight a paragraph has."""

    BODY = "body"
    VERDICT = "verdict"
    RECOMMENDATION = "recommendation"
    ASIDE = "aside"  # how to read what stands beside it


class Level(enum.StrEnum):
    """How grave a notice is."""

    NOTE = "note"
    WARNING = "warning"
    GRAVE = "grave"  # could overturn the verdict


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One or more sentences."""

    text: Text
    tone: Tone = Tone.BODY


@dataclass(frozen=True, slots=True)
class Notice:
    """Sentences that a reader must not miss, as a list under a title or as a paragraph."""

    texts: tuple[str, ...]
    title: str | None = None
    level: Level = Level.NOTE


@dataclass(frozen=True, slots=True)
class Fact:
    """A label and what there is to say; `more` holds further lines of it."""

    label: str
    text: Text
    more: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """A list of labelled facts. `code`: the texts are hashes or signatures."""

    rows: tuple[Fact, ...]
    code: bool = False


@dataclass(frozen=True, slots=True)
class TableCell:
    """A value and what stands in small type below it."""

    text: str
    lines: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """What a row is of, its cells, and what is said about it."""

    head: Text
    cells: tuple[TableCell, ...]
    about: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table, the sentence below it, and a title where it is not the only one of its section.

    `name` is unique in the document. The first `n_text` columns hold words, the others numbers.
    """

    name: str
    first: str  # the title of the column of heads
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str = ""
    title: str | None = None
    n_text: int = 0


def without_lines(table: Table) -> Table:
    """The table with the first line of every cell alone, and nothing said about the rows."""
    rows = tuple(
        replace(row, cells=tuple(replace(cell, lines=()) for cell in row.cells), about="") for row in table.rows
    )
    return replace(table, rows=rows)


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure in the forms a report needs."""

    name: str
    title: str
    description: str  # for who cannot see it
    wide: str  # SVG, coloured by the page
    narrow: str
    file: str  # SVG that stands alone
    png: bytes


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing and its caption."""

    drawing: Drawing
    caption: str


@dataclass(frozen=True, slots=True)
class Formula:
    """Mathematics as one line of text and as LaTeX."""

    text: str
    latex: str  # what `render.mathml` reads: fractions, powers, indices, Greek letters, \\text


@dataclass(frozen=True, slots=True)
class Equation:
    """A quantity and what it equals, one line below the other: the formula, the values put in, the result."""

    left: Formula
    right: tuple[Formula, ...]
    source: str | None = None
    remark: str | None = None

    @property
    def text(self) -> str:
        """The whole as one line."""
        return " = ".join(side.text for side in (self.left, *self.right))

    @property
    def about(self) -> str:
        """Where it comes from, and the remark; empty where there is neither."""
        said = (text.rstrip(".") for text in (self.source, self.remark) if text)
        return " ".join(f"{text[0].upper()}{text[1:]}." for text in said)


@dataclass(frozen=True, slots=True)
class Equations:
    """The steps of a derivation."""

    rows: tuple[Equation, ...]


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to type into a shell."""

    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text as a model was given it or a file holds it, cut where it is long."""

    label: Text
    text: str
    left_out: int  # characters beyond what is shown
    where: str  # which file holds the whole


@dataclass(frozen=True, slots=True)
class Folded:
    """Blocks that a page shows on request."""

    summary: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """One generation as it is shown."""

    letter: str  # A is the sample with index 0
    text: str
    left_out: int  # characters beyond what is shown
    score: float | None  # by the leading metric
    end_reason: EndReason | None
    judged: str | None = None  # what its raters said, where that is to be shown

    @property
    def is_truncated(self) -> bool:
        """True where it stopped at the limit of new tokens rather than by itself."""
        return self.end_reason == "length"

    @property
    def ending(self) -> str | None:
        """How it ended, in words; None where nobody recorded it."""
        match self.end_reason:
            case "length":
                return "truncated at the limit"
            case "stop_string":
                return "ended at a stop string"
            case "end_token":
                return "ended by itself"
        return None


@dataclass(frozen=True, slots=True)
class Answers:
    """One arm's answers to one prompt."""

    arm: str
    completions: tuple[Completion, ...]


@dataclass(frozen=True, slots=True)
class Transcript:
    """One prompt with every arm's answers."""

    number: int  # 1 is the first sampled prompt; prompts held back keep their number
    prompt_id: str
    teaser: str
    source: str
    source_left_out: int
    references: tuple[str, ...]
    answers: tuple[Answers, ...]
    metric: str | None  # whose scores the completions carry
    is_open: bool = False  # shown without a click


Block: TypeAlias = (
    Heading | Paragraph | Notice | Facts | Table | Figure | Equations | Commands | Excerpt | Folded | Transcript
)
BLOCKS = (Heading, Paragraph, Notice, Facts, Table, Figure, Equations, Commands, Excerpt, Folded, Transcript)


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it is rendered. `brief`: what a terminal shows of it, where it shows anything."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    brief: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class SectionMaker:
    """How a section is made: what it needs of a trial, and the blocks that it then yields.

    Where `needs` is false of the material, or no block is yielded, the report has no such section.
    """

    id: str
    title: str | Callable[[Material], str]
    make: Callable[[Material], Iterable[Block]]
    needs: Callable[[Material], object] = lambda material: True
    brief: Callable[[Material], Iterable[Block]] | None = None  # for a terminal, which shows few sections

    def section(self, material: Material) -> Section | None:
        """The section made from the material, or None where it has nothing to say."""
        blocks = tuple(self.make(material)) if self.needs(material) else ()
        title = self.title if isinstance(self.title, str) else self.title(material)
        if not blocks:
            return None
        return Section(self.id, title, blocks, () if self.brief is None else tuple(self.brief(material)))


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report: what every form of it says, in order. `lead` is the verdict and what belongs beside it."""

    trial: str
    title: str
    authors: tuple[str, ...]
    arms: dict[str, int]  # name -> slot of its colour: 0 is the base
    lead: Section
    sections: tuple[Section, ...]
    version: str  # of finetrial
    kind: str = "A fine-tune as a trial"
    made_from: str | None = None  # None: the records of the trial

    def blocks(self) -> Iterator[tuple[Section, Block]]:
        """Every block with its section, in order, folded ones included."""
        for section in (self.lead, *self.sections):
            yield from ((section, block) for block in unfolded(section.blocks))

    @property
    def drawings(self) -> tuple[Drawing, ...]:
        """Every figure of the document."""
        return tuple(block.drawing for _, block in self.blocks() if isinstance(block, Figure))

    def facts(self, section_id: str) -> dict[str, str]:
        """The facts of a section as plain texts by their labels, hashes and signatures left out."""
        return {
            fact.label: plain(fact.text)
            for section, block in self.blocks()
            if section.id == section_id and isinstance(block, Facts) and not block.code
            for fact in block.rows
        }


def unfolded(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks with those inside folded ones behind them."""
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from unfolded(block.blocks)
