"""Show the arms in each part of the prompts, by columns of the data, and where arms change places."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.slices import LENGTH, Slice, Slices
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting import formats
from finetrial.reporting.document import Block, Paragraph, SectionMaker, Table, TableCell, TableRow, Tone
from finetrial.reporting.results import Material
from finetrial.reporting.safe_text import one_line, plural
from finetrial.units import listing

_LONGEST = 60  # characters of a value


def slices_table(found: Slices) -> Table:
    """One column's parts as rows; below each value the arms that change places in it."""
    arms = tuple(found.parts[0].arms)
    rows = tuple(_row(part, arms=arms) for part in found.parts)
    note = f"Mean {metric_name(found.metric)} with 95\u00a0% intervals. Exploratory: no part was named to decide."
    if found.missing:
        note += (
            f" {plural(found.missing, 'prompt')} without a value {'is' if found.missing == 1 else 'are'} left out."
        )
    first = "Words of the prompt" if found.column == LENGTH else one_line(found.column, longest=_LONGEST)
    name = "".join(letter if letter.isalnum() else "_" for letter in found.column)
    return Table(f"slices_{name}", first, ("Prompts", *arms), rows, note, title=f"By {found.column}")


def _row(part: Slice, *, arms: Iterable[str]) -> TableRow:
    cells = [TableCell(str(part.n_prompts))]
    for arm in arms:
        row = part.arms[arm]
        bounds = () if row.low is None or row.high is None else (formats.span(row.low, row.high),)
        cells.append(TableCell(formats.score(row.estimate), bounds))
    about = ""
    if part.changed:
        about = f"Here {listing([f'{a} before {b}' for a, b in part.changed])}, unlike over all prompts."
    return TableRow((one_line(part.value, longest=_LONGEST),), tuple(cells), about)


def _slices(material: Material) -> Iterable[Block]:
    for found in material.results.findings.slices:
        if found.parts:
            yield slices_table(found)
        elif found.reason is not None and found.column != LENGTH:
            yield Paragraph(f"By {found.column}: {found.reason}.", Tone.ASIDE)


SLICES = SectionMaker("slices", "By parts of the data", _slices, needs=lambda m: m.results.findings.slices)
