"""Make the table of what a request to each arm takes, and after how many requests tuning has paid for itself."""

from __future__ import annotations

from collections.abc import Callable

from finetrial.evidence.cost import Unit
from finetrial.evidence.findings import ArmCost, BreakEven, Costs
from finetrial.reporting import numbers
from finetrial.reporting.numbers import DASH
from finetrial.reporting.results import Results
from finetrial.reporting.tables import Table, TableCell, TableRow

_PRICED = 1000  # requests whose cost in money is shown


def _money(value: float | None) -> str:
    return DASH if value is None else f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def _tokens(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


_SHOW: dict[Unit, Callable[[float | None], str]] = {
    "money": _money,
    "FLOPs": numbers.power_of_ten,
    "seconds": numbers.duration,
}


def _break_even_cell(rows: list[BreakEven]) -> TableCell:
    """After how many requests; against which prompted arm stands below."""
    if not rows:
        return TableCell(DASH)
    said = [
        "never" if row.never else DASH if row.requests is None else f"{numbers.whole(row.requests)} requests"
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
        ("FLOPs", lambda _, cost: TableCell(numbers.power_of_ten(cost.request_flops))),
        ("Time", lambda _, cost: TableCell(numbers.duration(cost.request_seconds))),
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
                lambda arm, _: TableCell(numbers.power_of_ten(costs.watt_hours[arm])),
            )
        )
    if costs.break_even:
        columns.append(("Has paid for itself after", lambda arm, _: _break_even_cell(of_arm[arm])))
    return columns


def serving_table(results: Results) -> Table:
    """A row for each arm that was sampled; none where nothing was concluded of costs or nothing measured."""
    costs = results.findings.costs
    if costs is None:
        return Table((), (), "")
    cells = {title: [make(arm, cost) for arm, cost in costs.arms.items()] for title, make in _columns(costs)}
    used = {title: column for title, column in cells.items() if any(c.text != DASH or c.lines for c in column)}
    if not used:
        return Table((), (), "")
    rows = tuple(
        TableRow(arm, "", tuple(column[place] for column in used.values())) for place, arm in enumerate(costs.arms)
    )
    return Table(tuple(used), rows, _note(costs))


def _note(costs: Costs) -> str:
    note = "Means over the samples; a request is one prompt, with its examples, and one answer."
    if any(cost.request_seconds is not None for cost in costs.arms.values()):
        note += " Time is that of sampling in batches, divided by the samples."
    if costs.unit is not None:
        note += f" Cheaper means by {costs.basis}; the search for a learning rate counts as tuning."
    else:
        note += " Cheaper means by method: what tuning and requests take was not measured for every arm."
    if costs.break_even:
        note += (
            " A tuned arm has paid for itself when its tuning and requests cost no more than the prompted arm’s "
            "requests; never, where a request to it costs as much or more."
        )
    return note
