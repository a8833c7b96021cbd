"""Show what each arm cost to tune, what a request to it takes, and which learning rates were searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from finetrial.evidence.cost import Unit
from finetrial.evidence.findings import ArmCost, BreakEven, Costs
from finetrial.reporting import formats
from finetrial.reporting.document import ArmName, Block, SectionMaker, Table, TableCell, TableRow, without_lines
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import ArmResult, Material, Results
from finetrial.reporting.safe_text import plural
from finetrial.units import listing

_PRICED = 1000  # requests whose cost in money is shown


@dataclass(frozen=True, slots=True)
class _Cost:
    """One column of the cost table: a figure of measured.json, planned under the same key."""

    title: str
    key: str
    show: Callable[[float | None], str]


_COSTS = (
    _Cost("Trained parameters", "trained_parameters", formats.whole),
    _Cost("Stored", "stored_bytes", formats.size),
    _Cost("Tuning time", "tune_seconds", formats.duration),
    _Cost("Peak memory", "peak_memory_bytes", formats.size),
    _Cost("FLOPs", "flops_total", formats.power_of_ten),
    _Cost("Learning rate", "learning_rate", formats.power_of_ten),
)


def _measured(arm: ArmResult, key: str) -> float | None:
    return None if arm.measured is None else getattr(arm.measured, key)


def _cost_cell(arm: ArmResult, cost: _Cost) -> TableCell:
    value, planned = _measured(arm, cost.key), arm.planned.get(cost.key)
    is_idle = arm.measured is not None and not arm.measured.steps and not value
    lines = []
    if cost.key == "trained_parameters" and value and arm.trained_share is not None and arm.measured is not None:
        lines.append(f"{formats.share(arm.trained_share)} of all")
        if arm.measured.trained_special_rows:
            rows = arm.measured.trained_special_rows
            lines.append(f"and {plural(rows, 'new token row')}")
    if isinstance(planned, (int, float)):
        lines.append(f"planned {cost.show(planned)}")
    lines += _besides(arm, cost)
    return TableCell(text=DASH if value is None or is_idle else cost.show(value), lines=tuple(lines))


def _besides(arm: ArmResult, cost: _Cost) -> list[str]:
    """What the search for the learning rate and the evaluations took, in the columns of time and FLOPs."""
    measured, what = arm.measured, {"tune_seconds": "seconds", "flops_total": "flops"}.get(cost.key)
    if measured is None or what is None:
        return []
    lines = []
    searched = getattr(measured, f"search_{what}")
    if searched is None and arm.search is not None:  # written by an older version
        searched = getattr(arm.search, what)
    if searched is not None:
        lines.append(f"search {cost.show(searched)}")
    evaluated = getattr(measured, f"evaluation_{what}")
    if evaluated is not None:
        of_time = what == "seconds" and measured.tune_seconds > 0
        share = f" ({formats.percent(evaluated / measured.tune_seconds)})" if of_time else ""
        lines.append(f"evaluation {cost.show(evaluated)}{share}")
    return lines


def _costs(results: Results) -> Table:
    """What each arm cost, planned figures below the measured ones. Columns that nobody filled are left out."""
    cells = {cost: [_cost_cell(arm, cost) for arm in results.arms] for cost in _COSTS}
    used = [cost for cost, column in cells.items() if any(c.text != DASH or c.lines for c in column)]
    rows = tuple(
        TableRow((ArmName(arm.name),), tuple(cells[cost][i] for cost in used), arm.description)
        for i, arm in enumerate(results.arms)
    )
    totals = sorted({arm.measured.total_parameters for arm in results.arms if arm.measured})
    places = sorted({arm.measured.device for arm in results.arms if arm.measured and arm.measured.device})
    note = "A dash: nothing was tuned, or it was not measured."
    if len(totals) == 1:
        note = f"The model has {formats.whole(totals[0])} parameters. {note}"
    if any(arm.more_runs for arm in results.arms):
        note += " Of several training runs the costs are the first one’s."
    if places:
        note += f" Measured on {', '.join(places)}."
    measured = [arm.measured for arm in results.arms if arm.measured is not None]
    for names in sorted({row.together for row in measured if row.together}):
        note += f" {listing(names)} were tuned in one pass: their times are shares of it, the peak memory is all’s."
    if any(row.search_seconds is not None for row in measured) or any(arm.search for arm in results.arms):
        note += " The search for the learning rate comes on top, in time and FLOPs."
    if any(row.evaluation_seconds is not None for row in measured):
        note += " Evaluation on the validation data is part of the tuning time, and its FLOPs come on top."
        read = {(row.curve_rows, row.validation_rows) for row in measured if row.curve_rows is not None}
        if len(read) == 1 and (counts := next(iter(read)))[0] != counts[1]:
            note += f" While tuning it read {counts[0]} of {counts[1]} validation examples, at the end all of them."
    if any(arm.planned for arm in results.arms):
        note += " Planned figures were computed before the arms ran."
    return Table("costs", "Arm", tuple(cost.title for cost in used), rows, note)


def _searches(results: Results) -> Table:
    """The learning rates that were tried for each arm, what they came to, and which was taken."""
    rows = []
    for arm in results.arms:
        if arm.search is None:
            continue
        tried = sorted(arm.search.tried, key=lambda row: row.learning_rate)
        losses = ("stopped" if row.stopped else formats.score(row.validation_loss) for row in tried)
        lines = tuple(
            f"{formats.power_of_ten(row.learning_rate)}: {loss}" for row, loss in zip(tried, losses, strict=True)
        )
        cells = (
            TableCell(formats.power_of_ten(arm.search.chosen)),
            TableCell(f"{len(tried)} rates", lines),
            TableCell(f"{arm.search.steps} steps", (f"{formats.percent(arm.search.share)} of the arm’s",)),
            TableCell(formats.duration(arm.search.seconds)),
        )
        rows.append(TableRow((ArmName(arm.name),), cells))
    note = (
        "Each rate was tuned for the same share of its arm’s steps; the lowest loss on the validation data was "
        "taken. The held-out data were not read. The search counts in what its arm costs."
    )
    columns = ("Learning rate", "Validation loss", "Each tuned for", "Search time")
    return Table("searches", "Arm", columns, tuple(rows), note, title="The search for learning rates")


def _money(value: float | None) -> str:
    return DASH if value is None else f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def _tokens(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


_SHOW: dict[Unit, Callable[[float | None], str]] = {
    "money": _money,
    "FLOPs": formats.power_of_ten,
    "seconds": formats.duration,
}


def _break_even_cell(rows: list[BreakEven]) -> TableCell:
    """After how many requests; against which prompted arm stands below."""
    if not rows:
        return TableCell(DASH)
    said = [
        "never" if row.never else DASH if row.requests is None else f"{formats.whole(row.requests)} requests"
        for row in rows
    ]
    if len(rows) == 1:
        return TableCell(said[0], (f"against {rows[0].against}",))
    return TableCell(DASH, tuple(f"{text} against {row.against}" for text, row in zip(said, rows, strict=True)))


def _columns(costs: Costs) -> list[tuple[str, Callable[[str, ArmCost], TableCell]]]:
    """Every column with the cell of an arm; columns that no arm fills are left out by the caller."""
    of_arm = {arm: [row for row in costs.break_even if row.arm == arm] for arm in costs.arms}
    columns: list[tuple[str, Callable[[str, ArmCost], TableCell]]] = [
        ("Prompt tokens", lambda _, cost: TableCell(_tokens(cost.request_prompt_tokens))),
        ("Generated tokens", lambda _, cost: TableCell(_tokens(cost.request_generated_tokens))),
        ("FLOPs", lambda _, cost: TableCell(formats.power_of_ten(cost.request_flops))),
        ("Time", lambda _, cost: TableCell(formats.duration(cost.request_seconds))),
        (
            f"Cost of {_PRICED:,} requests",
            lambda _, cost: TableCell(_money(None if cost.request_money is None else _PRICED * cost.request_money)),
        ),
    ]
    if costs.unit is not None:
        show = _SHOW[costs.unit]
        columns.append(
            (
                f"Tuning and {costs.requests:,} requests, {costs.unit}",
                lambda arm, _: TableCell(show(costs.totals[arm])),
            )
        )
    if costs.watt_hours:
        columns.append(
            (
                f"Tuning and {costs.requests:,} requests, watt hours",
                lambda arm, _: TableCell(formats.power_of_ten(costs.watt_hours[arm])),
            )
        )
    if costs.break_even:
        columns.append(("Breaks even after", lambda arm, _: _break_even_cell(of_arm[arm])))
    return columns


def _serving(costs: Costs) -> Table | None:
    """A row for each arm that was sampled; None where nothing was measured."""
    cells = {title: [make(arm, cost) for arm, cost in costs.arms.items()] for title, make in _columns(costs)}
    used = {title: column for title, column in cells.items() if any(c.text != DASH or c.lines for c in column)}
    if not used:
        return None
    rows = tuple(
        TableRow((ArmName(arm),), tuple(column[place] for column in used.values()))
        for place, arm in enumerate(costs.arms)
    )
    return Table("serving", "Arm", tuple(used), rows, _serving_note(costs), title="What a request takes")


def _serving_note(costs: Costs) -> str:
    note = "Means over the samples; a request is one prompt, with its examples, and one answer."
    if any(cost.request_seconds is not None for cost in costs.arms.values()):
        note += " Time is that of sampling in batches, divided by the samples."
    if costs.unit is not None:
        note += f" Cheaper means by {costs.basis}; the search for a learning rate counts as tuning."
    else:
        note += " Cheaper means by method: what tuning and requests take was not measured for every arm."
    if costs.break_even:
        note += (
            " A tuned arm breaks even when its tuning and requests cost no more than the prompted arm’s requests; "
            "never, where a request to it costs as much or more."
        )
    return note


def _arms(material: Material) -> Iterable[Block]:
    results = material.results
    yield _costs(results)
    if results.findings.costs is not None and (serving := _serving(results.findings.costs)) is not None:
        yield serving
    if any(arm.search for arm in results.arms):
        yield _searches(results)


def _brief(material: Material) -> Iterable[Block]:
    """One line an arm; nothing where nothing is known of any, as of outputs from elsewhere."""
    table = without_lines(_costs(material.results))
    if table.columns:
        yield table


ARMS = SectionMaker("arms", "Arms and cost", _arms, brief=_brief)
