"""Make the rows and columns of a report's tables, alike for HTML, Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.findings import Retention
from finetrial.evidence.words import how_compared
from finetrial.metrics.all import metric_name, metric_named
from finetrial.reporting import numbers
from finetrial.reporting.answer import listing
from finetrial.reporting.numbers import DASH
from finetrial.reporting.results import ArmResult, Cell, Results
from finetrial.stats.comparison import Comparison


@dataclass(frozen=True, slots=True)
class TableCell:
    """A number and what stands in small type below it."""

    text: str
    lines: tuple[str, ...] = ()
    best: bool = False


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row's arm (or other name), what is said about it, and its cells."""

    arm: str
    about: str
    cells: tuple[TableCell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table and the sentence below it. No rows: there is nothing to show."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    note: str


@dataclass(frozen=True, slots=True)
class _Cost:
    """One column of the cost table: a figure of measured.json, planned under the same key."""

    title: str
    key: str
    show: Callable[[float | None], str]


_COSTS = (
    _Cost("Trained parameters", "trained_parameters", numbers.whole),
    _Cost("Stored", "stored_bytes", numbers.size),
    _Cost("Tuning time", "tune_seconds", numbers.duration),
    _Cost("Peak memory", "peak_memory_bytes", numbers.size),
    _Cost("FLOPs", "flops_total", numbers.power_of_ten),
    _Cost("Learning rate", "learning_rate", numbers.power_of_ten),
)


def _measured(arm: ArmResult, key: str) -> float | None:
    return None if arm.measured is None else getattr(arm.measured, key)


def _cost_cell(arm: ArmResult, cost: _Cost) -> TableCell:
    value, planned = _measured(arm, cost.key), arm.planned.get(cost.key)
    is_idle = arm.measured is not None and not arm.measured.steps and not value
    lines = []
    if cost.key == "trained_parameters" and value and arm.trained_share is not None and arm.measured is not None:
        lines.append(f"{numbers.share(arm.trained_share)} of all")
        if arm.measured.trained_special_rows:
            rows = arm.measured.trained_special_rows
            lines.append(f"and {rows} new token row{'s' * (rows != 1)}")
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
        share = f" ({100 * evaluated / measured.tune_seconds:.0f}\u00a0%)" if of_time else ""
        lines.append(f"evaluation {cost.show(evaluated)}{share}")
    return lines


def cost_table(results: Results) -> Table:
    """What each arm cost, planned figures below the measured ones. Columns that nobody filled are left out."""
    cells = {cost: [_cost_cell(arm, cost) for arm in results.arms] for cost in _COSTS}
    used = [cost for cost, column in cells.items() if any(c.text != DASH or c.lines for c in column)]
    rows = tuple(
        TableRow(arm.name, arm.description, tuple(cells[cost][i] for cost in used))
        for i, arm in enumerate(results.arms)
    )
    totals = sorted({arm.measured.total_parameters for arm in results.arms if arm.measured})
    places = sorted({arm.measured.device for arm in results.arms if arm.measured and arm.measured.device})
    note = "A dash: nothing was tuned, or it was not measured."
    if len(totals) == 1:
        note = f"The model has {numbers.whole(totals[0])} parameters. {note}"
    if any(arm.more_runs for arm in results.arms):
        note += " Of several training runs the costs are the first one’s."
    if places:
        note += f" Measured on {', '.join(places)}."
    measured = [arm.measured for arm in results.arms if arm.measured is not None]
    if any(row.search_seconds is not None for row in measured) or any(arm.search for arm in results.arms):
        note += " The search for the learning rate comes on top, in time and FLOPs."
    if any(row.evaluation_seconds is not None for row in measured):
        note += " Evaluation on the validation data is part of the tuning time, and its FLOPs come on top."
        read = {(row.curve_rows, row.validation_rows) for row in measured if row.curve_rows is not None}
        if len(read) == 1 and (counts := next(iter(read)))[0] != counts[1]:
            note += f" While tuning it read {counts[0]} of {counts[1]} validation examples, at the end all of them."
    if any(arm.planned for arm in results.arms):
        note += " Planned figures were computed before the arms ran."
    return Table(tuple(cost.title for cost in used), rows, note)


def search_table(results: Results) -> Table:
    """Which learning rates were tried for each arm, what they came to, and what was taken."""
    rows = []
    for arm in results.arms:
        if arm.search is None:
            continue
        tried = sorted(arm.search.tried, key=lambda row: row.learning_rate)
        losses = ("stopped" if row.stopped else numbers.score(row.validation_loss) for row in tried)
        lines = tuple(
            f"{numbers.power_of_ten(row.learning_rate)}: {loss}" for row, loss in zip(tried, losses, strict=True)
        )
        cells = (
            TableCell(numbers.power_of_ten(arm.search.chosen)),
            TableCell(f"{len(tried)} rates", lines),
            TableCell(f"{arm.search.steps} steps", (f"{100 * arm.search.share:.0f}\u00a0% of the arm’s",)),
            TableCell(numbers.duration(arm.search.seconds)),
        )
        rows.append(TableRow(arm.name, "", cells))
    note = (
        "Each rate was tuned for the same share of its arm’s steps; the lowest loss on the validation data was "
        "taken. The held-out data were not read. The search counts in what its arm costs."
    )
    return Table(("Learning rate", "Validation loss", "Each tuned for", "Search time"), tuple(rows), note)


def _score_cell(cell: Cell) -> TableCell:
    lines = []
    if cell.low is not None and cell.high is not None:
        lines.append(f"{numbers.score(cell.low)} to {numbers.score(cell.high)}")
    if cell.to_base is not None:
        lines.append(numbers.difference(cell.to_base))
    if cell.runs:
        lines.append(_runs(cell.runs))
    return TableCell(numbers.score(cell.mean), tuple(lines), best=cell.best)


def _runs(values: Sequence[float]) -> str:
    """How far training runs lie apart."""
    return f"{len(values)} runs: {numbers.score(min(values))} to {numbers.score(max(values))}"


def _heldout_cell(losses: Sequence[float]) -> TableCell:
    """The mean over training runs."""
    if not losses:
        return TableCell(DASH)
    return TableCell(numbers.score(math.fsum(losses) / len(losses)), (_runs(losses),) if len(losses) > 1 else ())


def _retained_cell(row: Retention | None) -> TableCell:
    """Bits per byte, the difference to the base below."""
    if row is None:
        return TableCell(DASH)
    lines = () if row.to_base is None else (numbers.difference(row.to_base),)
    if row.low is not None and row.high is not None:
        lines += (_range(row.low, row.high),)
    return TableCell(numbers.score(row.bits_per_byte), lines)


def score_table(results: Results) -> Table:
    """Arms by metrics: mean, interval where there is one, difference to the base; then how the samples ended."""
    metrics = tuple(results.metrics)
    heldout = any(arm.measured and arm.measured.heldout_loss is not None for arm in results.sampled_arms)
    tokens = any(arm.mean_tokens is not None for arm in results.sampled_arms)
    cut = any(arm.cut_share is not None for arm in results.sampled_arms)
    columns = [*(metric_name(metric) for metric in metrics)]
    retained = results.findings.retained
    columns += (
        ["Held-out loss"] * heldout
        + ["Other text"] * bool(retained)
        + ["Tokens a sample"] * tokens
        + ["Cut at the limit"] * cut
    )
    rows = []
    for arm in results.sampled_arms:
        cells = [_score_cell(results.metrics[m][arm.name]) for m in metrics]
        if heldout:
            cells.append(_heldout_cell(arm.heldout_losses))
        if retained:
            cells.append(_retained_cell(retained.get(arm.name)))
        if tokens:
            cells.append(TableCell(DASH if arm.mean_tokens is None else f"{arm.mean_tokens:.1f}"))
        if cut:
            cells.append(TableCell(DASH if arm.cut_share is None else f"{100 * arm.cut_share:.0f} %"))
        rows.append(TableRow(arm.name, arm.description, tuple(cells)))
    return Table(tuple(columns), tuple(rows), _score_note(results, heldout=heldout))


def _score_note(results: Results, *, heldout: bool) -> str:
    if results.metric is None:
        return "No sample has a score."
    cells = results.metrics[results.metric].values()
    samples, prompts = ({getattr(c, f"n_{what}") for c in cells} for what in ("samples", "prompts"))
    note = f"Means over prompts, each the mean of its samples; {_scales(results)}. "
    note += f"{_span(samples)} samples on {_span(prompts)} prompts an arm."
    if results.base is not None and len(results.sampled_arms) > 1:
        note += f" Below each mean its difference to {results.base}."
    if any(c.runs for c in cells):
        note += " Runs are tuned alike but for the seed; means are over all of them."
    if any(c.low is not None for c in cells):
        note += " Ranges are 95\u00a0% intervals."
    note += _open_note(results)
    note += _retained_note(results)
    if heldout:
        note += " Held-out loss is in nats a token of the reference; lower is better."
    return note


def _scales(results: Results) -> str:
    """How to read each metric's values, said once for all that are read alike."""
    named: dict[str, list[str]] = {}
    for metric in map(metric_named, results.metrics):
        named.setdefault(metric.scale, []).append(metric.title)
    if len(named) == 1:
        return next(iter(named))
    return "; ".join(f"{listing(titles)} {scale}" for scale, titles in named.items())


def _open_note(results: Results) -> str:
    """Why arms have no interval by the metric that decides."""
    rows = results.findings.intervals.get(results.metric or "", {})
    open_rows = {arm: row for arm, row in rows.items() if row.mean is not None and row.low is None}
    reasons = {arm: row.reason for arm, row in open_rows.items() if row.reason}
    return "".join(
        f" No interval of {', '.join(arm for arm, own in reasons.items() if own == reason)}: {reason}."
        for reason in dict.fromkeys(reasons.values())
    )


def _retained_note(results: Results) -> str:
    """How to read what tuning broke."""
    found = results.findings.retained
    if not found:
        return ""
    n_bytes, documents = max((row.n_bytes, row.documents) for row in found.values())
    note = (
        f" Other text is data.retain, {numbers.size(n_bytes)} in {documents} document{'s' * (documents != 1)}, in "
    )
    note += "bits a byte; lower is better."
    if any(row.to_base is not None for row in found.values()):
        note += " What an arm needs more than the base is what tuning broke."
    if any(row.low is not None for row in found.values()):
        note += " Its range is over documents."
    return note


def _span(counts: set[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def pair_table(results: Results) -> Table:
    """Every two arms by the metric that decides: on new prompts, and beside it by the other two questions."""
    deciding = [pair for pair in results.findings.pairs if pair.metric == results.metric]
    asked = {question: _by_arms(deciding, question) for question in ("new", "these", "retrained")}
    columns = ["Difference", "p", "p after Holm", "Won, lost, tied"]
    columns += ["p, these prompts"] * bool(asked["these"]) + ["p, another training run"] * bool(asked["retrained"])
    rows = []
    for (a, b), pair in asked["new"].items():
        cells = [
            _difference_cell(pair),
            TableCell(_p(pair.p)),
            TableCell(_p(pair.p_holm) if pair.confirmatory or pair.p is None else "exploratory"),
            TableCell(DASH if pair.wins is None else f"{pair.wins}, {pair.losses}, {pair.ties}"),
        ]
        for question in ("these", "retrained"):
            if asked[question]:
                other = asked[question].get((a, b))
                cells.append(TableCell(_p(other.p) if other else DASH))
        rows.append(TableRow(a, b, tuple(cells)))
    return Table(tuple(columns), tuple(rows), _pair_note(results, asked=asked))


def _by_arms(pairs: Sequence[Comparison], question: str) -> dict[tuple[str, str], Comparison]:
    return {(pair.a, pair.b): pair for pair in pairs if pair.question == question}


def _pair_note(results: Results, *, asked: Mapping[str, Mapping[tuple[str, str], Comparison]]) -> str:
    note = how_compared(metric_named(results.metric or ""))
    if asked["these"]:
        note += " Beside it, whether the arms differ on these very prompts, where only sampling varies."
    if results.findings.exploratory:
        note += " What is marked exploratory was not named before the trial."
    known = [row.detectable for row in results.findings.power if row.detectable is not None]
    if known:
        n = max(row.n_prompts for row in results.findings.power)
        span = " to ".join(dict.fromkeys((numbers.score(min(known)), numbers.score(max(known)))))
        note += f" {n} prompts show a true difference of {span} four times in five."
    elif results.findings.power and (reason := results.findings.power[0].reason):
        note += f" {reason[0].upper()}{reason[1:]}."
    return note


def exploratory_table(results: Results) -> Table:
    """Every two arms by the other metrics, which were not named to decide."""
    rows = tuple(
        TableRow(
            pair.a, pair.b, (TableCell(metric_name(pair.metric)), _difference_cell(pair), TableCell(_p(pair.p)))
        )
        for pair in results.findings.pairs
        if pair.metric != results.metric and pair.question == "new"
    )
    note = "Exploratory: these metrics were not named to decide, and their p-values are not corrected."
    return Table(("Metric", "Difference", "p"), rows, note)


def _difference_cell(pair: Comparison) -> TableCell:
    interval = () if pair.low is None or pair.high is None else (_range(pair.low, pair.high),)
    return TableCell(numbers.difference(pair.difference), interval)


def _range(low: float, high: float) -> str:
    return f"{numbers.difference(low)} to {numbers.difference(high)}"


def _p(value: float | None) -> str:
    return DASH if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def good_table(results: Results) -> Table:
    """Good of n per arm."""
    rows = tuple(
        TableRow(
            arm,
            "",
            (
                TableCell(f"{row.good} of {row.of}"),
                TableCell(DASH if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"),
            ),
        )
        for arm, row in results.findings.good.items()
    )
    return Table(
        ("Good", "95\u00a0% interval"), rows, "Graded blind: who judged did not know which arm wrote what."
    )


def diagnostic_table(results: Results) -> Table:
    """How often each thing goes wrong, the references' own rate last. What was found nowhere is named below."""
    arms = [arm.name for arm in results.sampled_arms]
    rows, nowhere, not_asked = [], [], []
    for row in results.findings.diagnostics:
        rates = [*(row.arms.get(arm) for arm in arms), row.references]
        if all(rate is None for rate in rates):
            not_asked.append(row.name)
        elif not any(rates):
            nowhere.append(row.name)
        else:
            rows.append(TableRow(row.name, row.definition, tuple(_rate(rate, unit=row.unit) for rate in rates)))
    note = "Shares of samples, unless the definition says otherwise. The last column is the references’ own rate."
    note += f" Found nowhere: {', '.join(nowhere)}." if nowhere else ""
    note += f" Not asked: {', '.join(not_asked)}." if not_asked else ""
    return Table((*arms, "References"), tuple(rows), note)


def _rate(value: float | None, *, unit: str) -> TableCell:
    if value is None:
        return TableCell(DASH)
    return TableCell(f"{value:.1f} words" if unit == "words" else f"{100 * value:.0f} %")
