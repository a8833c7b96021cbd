"""Show what goes wrong in the samples, beside the references' own rate, with examples."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.findings import Diagnostic, Example
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Code,
    Fact,
    Facts,
    Folded,
    Quote,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
    Text,
)
from finetrial.reporting.results import Material, Results


def _diagnostic_table(results: Results) -> Table:
    """How often each thing goes wrong, the references' own rate last. What was found nowhere is named below."""
    arms = [arm.name for arm in results.sampled_arms]
    rows, nowhere, not_computed = [], [], []
    for row in results.findings.diagnostics:
        rates = [*(row.arms.get(arm) for arm in arms), row.references]
        if all(rate is None for rate in rates):
            not_computed.append(row.name)
        elif not any(rates):
            nowhere.append(row.name)
        else:
            cells = tuple(TableCell(_rate(rate, unit=row.unit)) for rate in rates)
            rows.append(TableRow(row.name, cells, row.definition))
    note = "Shares of samples, unless the definition says otherwise. The last column is the references’ own rate."
    note += f" Found nowhere: {', '.join(nowhere)}." if nowhere else ""
    note += f" Not known or not asked: {', '.join(not_computed)}." if not_computed else ""
    return Table("diagnostics", "Finding", (*arms, "References"), tuple(rows), note)


def _rate(value: float | None, *, unit: str) -> str:
    return formats.percent(value) if value is None or unit != "words" else f"{value:.1f} words"


def _quoted(example: Example) -> Text:
    return (ArmName(example.arm), " ", Quote(example.quote), " ", Code(example.sample_id))


def _example(row: Diagnostic) -> Fact:
    first, *more = map(_quoted, row.examples)
    return Fact(row.name, first, tuple(more))


def _diagnostics(material: Material) -> Iterable[Block]:
    results = material.results
    if (table := _diagnostic_table(results)).rows:
        yield table
    examples = tuple(_example(row) for row in results.findings.diagnostics if row.examples)
    if examples:
        yield Folded("What was found, in the samples’ own words", (Facts(examples),))


DIAGNOSTICS = SectionMaker(
    "diagnostics", "What goes wrong", _diagnostics, needs=lambda m: m.results.findings.diagnostics
)
