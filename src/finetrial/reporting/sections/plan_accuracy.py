"""Show what was planned for each arm before the run, beside what was measured, with the signed error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from finetrial.reporting import formats
from finetrial.reporting.document import ArmName, Block, Paragraph, SectionMaker, Table, TableCell, TableRow
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import ArmResult, Material
from finetrial.store.run_time import RunTime


@dataclass(frozen=True, slots=True)
class _Figure:
    """One column: a figure that plan.json and measured.json have under the same key."""

    title: str
    key: str
    show: Callable[[float | None], str]


_FIGURES = (
    _Figure("Search", "search_seconds", formats.duration),
    _Figure("Tuning", "tune_seconds", formats.duration),
    _Figure("Sampling", "sample_seconds", formats.duration),
    _Figure("Peak memory", "peak_memory_bytes", formats.size),
    _Figure("Stored", "stored_bytes", formats.size),
    _Figure("FLOPs", "flops_total", formats.power_of_ten),
    _Figure("Tokens of an answer", "request_generated_tokens", formats.power_of_ten),
)


def signed_error(planned: float, *, measured: float) -> float:
    """The planned value's error, relative to the measured one: above zero the plan was too high."""
    return planned / measured - 1


def _cell(arm: ArmResult, figure: _Figure) -> TableCell:
    planned = arm.planned.get(figure.key)
    measured = None if arm.measured is None else getattr(arm.measured, figure.key)
    if not isinstance(planned, (int, float)) or not planned or not measured:
        return TableCell(DASH)
    text = formats.signed_percent(signed_error(planned, measured=measured))
    return TableCell(text, (f"planned {figure.show(planned)}", f"measured {figure.show(measured)}"))


def whole_run(run: RunTime) -> str:
    """The sentence on a whole run's time."""
    error = formats.signed_percent(signed_error(run.planned_seconds, measured=run.seconds))
    return (
        f"The whole run, from the trial file to the scores, was planned to take "
        f"{formats.duration(run.planned_seconds)} and took {formats.duration(run.seconds)} ({error})."
    )


def _plan(material: Material) -> Iterable[Block]:
    if (run := material.records.run_time) is not None and run.seconds > 0:
        yield Paragraph(whole_run(run))
    arms = [arm for arm in material.results.arms if arm.planned]
    columns = {figure.title: [_cell(arm, figure) for arm in arms] for figure in _FIGURES}
    used = {title: cells for title, cells in columns.items() if any(cell.text != DASH for cell in cells)}
    if not used:
        return
    rows = tuple(
        TableRow((ArmName(arm.name),), tuple(cells[place] for cells in used.values()))
        for place, arm in enumerate(arms)
    )
    note = (
        "Computed before the first step; above zero the plan was too high. An arm that was not tuned is planned to "
        "write up to the limit."
    )
    yield Table("plan-accuracy", "Arm", tuple(used), rows, note)


PLANNED = SectionMaker(
    "plan", "Planned and measured", _plan, needs=lambda material: any(a.planned for a in material.results.arms)
)
