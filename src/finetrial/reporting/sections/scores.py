"""Show every arm's mean by every metric, with its interval, and each prompt's score as a figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from finetrial.evidence.findings import Forgetting, ReferenceCost
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.reporting import formats
from finetrial.reporting.document import (
    ArmName,
    Block,
    Figure,
    Paragraph,
    SectionMaker,
    Table,
    TableCell,
    TableRow,
    Tone,
    without_lines,
)
from finetrial.reporting.drawings import score_dots
from finetrial.reporting.formats import DASH
from finetrial.reporting.results import Cell, Material, Results
from finetrial.reporting.safe_text import plural
from finetrial.reporting.sections.ranked_arms import ranked_arms
from finetrial.units import listing

NOT_ASKED = "not asked"


def _score_cell(cell: Cell, *, not_asked: bool = False) -> TableCell:
    lines = []
    if cell.low is not None and cell.high is not None:
        lines.append(formats.span(cell.low, cell.high))
    if cell.to_base is not None:
        lines.append(formats.difference(cell.to_base))
    if cell.runs:
        lines.append(_runs(cell.runs))
    return TableCell(NOT_ASKED if not_asked else formats.score(cell.mean), tuple(lines), best=cell.best)


def _runs(values: Sequence[float]) -> str:
    """How far training runs lie apart."""
    return f"{len(values)} runs: {formats.span(min(values), max(values))}"


def _heldout_cell(losses: Sequence[float], *, references: ReferenceCost | None) -> TableCell:
    """The mean over training runs; below it perplexity and bits a byte, with the difference to the base."""
    if not losses:
        return TableCell(DASH)
    lines = [_runs(losses)] if len(losses) > 1 else []
    if references is not None:
        lines.append(f"perplexity {references.perplexity:.3g}")
        lines.append(f"{formats.score(references.bits_per_byte)} bits a byte")
        if references.to_base is not None:
            lines.append(formats.difference(references.to_base))
        if references.low is not None and references.high is not None:
            lines.append(formats.difference_span(references.low, references.high))
    return TableCell(formats.score(math.fsum(losses) / len(losses)), tuple(lines))


def _retained_cell(row: Forgetting | None) -> TableCell:
    """Bits per byte, the difference to the base below."""
    if row is None:
        return TableCell(DASH)
    lines = [] if row.to_base is None else [formats.difference(row.to_base)]
    if row.low is not None and row.high is not None:
        lines.append(formats.difference_span(row.low, row.high))
    return TableCell(formats.score(row.bits_per_byte), tuple(lines))


def _score_table(results: Results) -> Table:
    """Arms by metrics: mean, interval where there is one, difference to the base; then how the samples ended."""
    metrics = tuple(results.metrics)
    heldout = any(arm.measured and arm.measured.heldout_loss is not None for arm in results.sampled_arms)
    tokens = any(arm.mean_tokens is not None for arm in results.sampled_arms)
    stripped = any(arm.mean_stripped is not None for arm in results.sampled_arms)
    truncated = any(arm.truncated_share is not None for arm in results.sampled_arms)
    columns = [*(metric_name(metric) for metric in metrics)]
    retained = results.findings.retained
    columns += (
        ["Held-out loss"] * heldout
        + ["Other text"] * bool(retained)
        + ["Tokens a sample"] * tokens
        + ["Taken off"] * stripped
        + ["Truncated"] * truncated
    )
    rows = []
    for arm in results.sampled_arms:
        cells = [_score_cell(results.metrics[m][arm.name], not_asked=m in results.not_asked) for m in metrics]
        if heldout:
            cells.append(_heldout_cell(arm.heldout_losses, references=results.findings.references.get(arm.name)))
        if retained:
            cells.append(_retained_cell(retained.get(arm.name)))
        if tokens:
            cells.append(TableCell(DASH if arm.mean_tokens is None else f"{arm.mean_tokens:.1f}"))
        if stripped:
            cells.append(TableCell(DASH if arm.mean_stripped is None else f"{arm.mean_stripped:.1f}"))
        if truncated:
            cells.append(TableCell(formats.percent(arm.truncated_share)))
        rows.append(TableRow((ArmName(arm.name),), tuple(cells)))
    return Table("scores", "Arm", tuple(columns), tuple(rows), _score_note(results, heldout=heldout))


def _score_note(results: Results, *, heldout: bool) -> str:
    assert results.metric is not None
    cells = results.metrics[results.metric].values()
    samples, prompts = ({getattr(c, f"n_{what}") for c in cells} for what in ("samples", "prompts"))
    note = f"Means over prompts, each the mean of its samples; {_scale(results)} "
    note += f"{_span(samples)} samples on {_span(prompts)} prompts an arm."
    if results.base is not None and len(results.sampled_arms) > 1:
        note += f" Below each mean its difference to {results.base}."
    if any(c.runs for c in cells):
        note += " Runs are tuned alike but for the seed; means are over all of them."
    if any(c.low is not None for c in cells):
        note += " Ranges are 95\u00a0% intervals."
    note += _open_note(results)
    if results.not_asked:
        names = listing([metric_name(name) for name in results.metrics if name in results.not_asked])
        note += f" Not asked: {names}, for no prompt has a completion to compare with."
    note += _retained_note(results)
    if any(arm.truncated_share is not None for arm in results.sampled_arms):
        note += " Truncated: the share of samples that reached the limit of new tokens."
    if any(arm.mean_stripped is not None for arm in results.sampled_arms):
        note += " Taken off: tokens a sample that sampling.strip took off before scoring; they were generated and "
        note += "count as cost."
    if heldout:
        note += " Held-out loss is in nats a token of the reference; lower is better."
        if results.findings.references:
            note += " Below it the perplexity of a token, and the references' bits a byte, which models with other"
            note += " tokenizers share, with the difference to the base and its range over prompts."
        if len({arm.base for arm in results.sampled_arms}) > 1:
            note += " Models with other tokenizers count other tokens: their losses do not compare."
    return note


def _scale(results: Results) -> str:
    """How to read each metric's values, said once for all that are read alike."""
    named: dict[str, list[str]] = {}
    for metric in map(metric_named, results.metrics):
        named.setdefault(metric.scale, []).append(metric.title)
    if len(named) == 1:
        return f"{next(iter(named))}."
    return "; ".join(f"{listing(titles)} {scale}" for scale, titles in named.items()) + "."


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
    note = f" Other text is data.retain, {formats.size(n_bytes)} in {plural(documents, 'document')}, in "
    note += "bits a byte; lower is better."
    if any(row.to_base is not None for row in found.values()):
        note += " What an arm needs more than the base is what tuning broke."
    if any(row.low is not None for row in found.values()):
        note += " Its range is over documents."
    return note


def _span(counts: set[int]) -> str:
    return str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _dots_caption(results: Results) -> str:
    """What the marks of the score figure mean."""
    assert results.metric is not None
    text = f"Each dot is one prompt: the mean {metric_name(results.metric)} of its samples. "
    text += "The upright bar is the arm’s mean"
    if any(cell.low is not None for cell in results.metrics[results.metric].values()):
        text += ", the thick line its 95\u00a0% interval"
    if results.base is not None and len(results.sampled_arms) > 1:
        text += f"; the dashed line marks {results.base}"
    return text + "."


def _scores(material: Material) -> Iterable[Block]:
    results = material.results
    if results.metric is None:
        yield Paragraph("No sample has a score.", Tone.ASIDE)
        return
    yield _score_table(results)
    yield from ranked_arms(results)
    dots = score_dots(results)
    if dots is not None:
        yield Figure(dots, _dots_caption(results))


def _brief(material: Material) -> Iterable[Block]:
    """One line an arm, the leading metric's differences to the base in a column of their own."""
    results = material.results
    if results.metric is None:
        return
    table = without_lines(_score_table(results))
    cells = [results.metrics[results.metric][arm.name] for arm in results.sampled_arms]
    if any(cell.to_base is not None for cell in cells):
        columns = (table.columns[0], f"To {results.base}", *table.columns[1:])
        rows = tuple(
            replace(row, cells=(row.cells[0], TableCell(formats.difference(cell.to_base)), *row.cells[1:]))
            for row, cell in zip(table.rows, cells, strict=True)
        )
        table = replace(table, columns=columns, rows=rows)
    yield table


SCORES = SectionMaker("scores", "Scores", _scores, brief=_brief)
