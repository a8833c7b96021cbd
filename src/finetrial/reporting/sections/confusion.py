"""Show each arm's confusion matrix where a metric counts labels: rows are true labels, columns those named."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.findings import Findings
from finetrial.metrics.labels import Confusion
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.document import (
    ArmName,
    Block,
    Fact,
    Facts,
    Folded,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
)
from finetrial.reporting.results import Material

MOST_LABELS = 12  # a wider matrix does not fit a page; results.json has it whole
MOST_IN_TERMINAL = 6  # likewise, of 80 columns


def _matrices_of(findings: Findings) -> dict[str, dict[str, Confusion]]:
    """metric -> arm -> its matrix."""
    return {
        metric: {arm: found for arm, found in arms.items() if isinstance(found, Confusion)}
        for metric, arms in findings.details.items()
        if any(isinstance(found, Confusion) for found in arms.values())
    }


def _matrices(material: Material) -> dict[str, dict[str, Confusion]]:
    return _matrices_of(material.results.findings)


def _table(name: str, arm: str, found: Confusion) -> Table:
    rows = tuple(
        TableRow(label, tuple(TableCell(str(count)) for count in (*counts, other)))
        for label, counts, other in zip(found.labels, found.counts, found.other, strict=True)
    )
    note = "Samples by their true label, in rows, and the label that they name, in columns; “other” names none."
    return Table(name, "True label", (*found.labels, "other"), rows, note, title=arm)


def _most_confused(found: Confusion) -> str:
    """The three largest entries off the diagonal, for a matrix too wide to show."""
    labels = [*found.labels, "other"]
    off = [
        (count, true, labels[place])
        for row, true in enumerate(found.labels)
        for place, count in enumerate((*found.counts[row], found.other[row]))
        if place != row and count
    ]
    worst = sorted(off, key=lambda entry: (-entry[0], *entry[1:]))[:3]
    return "; ".join(f"{true} as {named}, {count}" for count, true, named in worst) or "none"


def _confusion(material: Material) -> Iterable[Block]:
    for metric, arms in _matrices(material).items():
        slots = [arm.name for arm in material.results.arms]
        shown = {arm: found for arm, found in arms.items() if len(found.labels) <= MOST_LABELS}
        tables = tuple(_table(f"confusion-{slots.index(arm)}", arm, found) for arm, found in shown.items())
        if tables:
            yield Folded(f"Confusion matrices of {metric_name(metric)}", tables)
        wide = tuple(
            Fact(f"{len(found.labels)} labels", ((ArmName(arm), ": ", _most_confused(found))))
            for arm, found in arms.items()
            if arm not in shown
        )
        if wide:
            yield Facts(wide)


def confusion_in_brief(findings: Findings) -> Iterable[Block]:
    """Each arm's matrix, or where that is too wide for a terminal what it confuses most."""
    for arms in _matrices_of(findings).values():
        for place, (arm, found) in enumerate(arms.items()):
            if len(found.labels) <= MOST_IN_TERMINAL:
                yield _table(f"confusion-{place}", arm, found)
            else:
                yield Facts((Fact(f"{arm}, {len(found.labels)} labels", (_most_confused(found),)),))


CONFUSION = SectionMaker(
    "confusion",
    "Which labels are confused",
    _confusion,
    needs=_matrices,
    brief=lambda material: confusion_in_brief(material.results.findings),
)
