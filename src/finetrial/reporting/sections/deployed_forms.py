"""Show whether what is deployed does as well as the arm that was measured."""

from __future__ import annotations

from collections.abc import Iterable

from finetrial.evidence.equivalence import DeployedForm
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting.document import ArmName, Block, Paragraph, SectionMaker, Table, TableCell, TableRow
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import Material


def _sentence(form: DeployedForm) -> tuple[str | ArmName, ...]:
    name = metric_name(form.metric)
    if form.outcome == "equivalent":
        text = f" is equivalent by {name}: it differs by less than {form.margin:g} either way."
    elif form.outcome == "different":
        text = f" is not equivalent by {name}: it differs by more than {form.margin:g}."
    else:
        text = f" is not shown to be equivalent by {name}, nor to differ by more than {form.margin:g}."
        if form.reason is not None:
            text += f" No interval: {form.reason}."
    return (ArmName(form.arm), ", which is ", ArmName(form.of), " as it is deployed,", text)


def _row(form: DeployedForm) -> TableRow:
    bounds = DASH if form.low is None or form.high is None else f"{form.low:+.3f} to {form.high:+.3f}"
    cells = (
        DASH if form.difference is None else f"{form.difference:+.3f}",
        bounds,
        f"±{form.margin:g}",
        str(form.n_units),
        f"{form.identical} of {form.compared}",
    )
    return TableRow((ArmName(form.arm), " − ", ArmName(form.of)), tuple(map(TableCell, cells)))


def _deployed(material: Material) -> Iterable[Block]:
    forms = material.results.findings.deployed
    for form in forms:
        yield Paragraph(_sentence(form))
    yield Table(
        "deployed",
        "Arms",
        ("Difference", "90\u00a0% interval", "Margin", "Prompts", "Same answers"),
        tuple(map(_row, forms)),
        "Two one-sided tests at .05: equivalent where the whole interval lies within the margin. Deployed forms "
        "stand in no other comparison of arms.",
    )


DEPLOYED = SectionMaker(
    "deployed", "What is deployed", _deployed, needs=lambda material: material.results.findings.deployed
)
