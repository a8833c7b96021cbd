"""Rank the arms by what decides, arms that nothing tells apart side by side, and say what the metric means."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.pairs import Pairs
from finetrial.metrics.metric_table import metric_named
from finetrial.reporting import formats
from finetrial.reporting.document import ArmName, Block, Paragraph, Table, TableCell, TableRow
from finetrial.reporting.results import Results
from finetrial.units import listing


def meaning(results: Results) -> str | None:
    """What the metric that decides counts, in a sentence; None for one that says nothing of itself."""
    metric = metric_named(results.metric or "")
    if not metric.about:
        return None
    return f"What decides is {metric.title}: {metric.about}; {metric.scale}."


def ranked_arms(results: Results) -> Iterable[Block]:
    """The meaning of the metric, and the arms in the order of their means.

    An arm's rank is one more than the number of arms that are shown to be better, so that arms which nothing tells
    apart share a rank where they lose to equally many.
    """
    if (said := meaning(results)) is not None:
        yield Paragraph(said)
    compared = tuple(p for p in results.findings.pairs if p.metric == results.metric and p.question == "new")
    cells = results.metrics[results.metric or ""]
    metric = metric_named(results.metric or "")
    order = metric.ranking({arm: cell.mean for arm, cell in cells.items()})
    if len(order) < 2 or not any(pair.p is not None for pair in compared):
        return
    pairs, rows = Pairs(compared), []
    for arm in order:
        found = {other: pairs.find(arm, other) for other in order if other != arm}
        better = [other for other, pair in found.items() if pair is not None and pair.is_worse]
        open_ones = [other for other, pair in found.items() if pair is None or not pair.is_significant]
        cells_of_arm = (
            TableCell(str(1 + len(better))),
            TableCell(formats.score(cells[arm].mean)),
            TableCell(listing(open_ones) if open_ones else formats.DASH),
        )
        rows.append(TableRow((ArmName(arm),), cells_of_arm))
    note = (
        "A rank counts the arms that are shown to be better, after correction for all pairs; arms of one rank are "
        "not told apart by it."
    )
    columns = ("Rank", metric.title, "Not told apart from")
    yield Table("ranking", "Arm", columns, tuple(rows), note, title="Ranking")
