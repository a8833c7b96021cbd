"""Write findings for a terminal of 80 columns: what could overturn the verdict, the verdict, what it rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from finetrial.api.grid_text import grid_lines
from finetrial.evidence.findings import Diagnostic, Findings
from finetrial.evidence.phrases import figure, signed
from finetrial.evidence.verdict_warnings import HEADING
from finetrial.metrics.metric import ArmMetric
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.reporting.document import Level, Notice
from finetrial.reporting.render.terminal import block_lines
from finetrial.reporting.sections.by_slices import slices_table
from finetrial.reporting.sections.confusion import confusion_in_brief
from finetrial.reporting.sections.opening import break_even
from finetrial.stats.comparison import Comparison

WIDTH = 80
_DASH = "–"
_MOST_PAIRS, _MOST_DIAGNOSTICS, _MOST_OTHERS = 10, 6, 3
_NOTABLE = 0.1  # above the references' own rate


def _wrap(text: str, *, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def _short(name: str | None, width: int) -> str:
    name = name or ""
    return name if len(name) <= width else name[: width - 1] + "…"


def _set(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart, the first to the left; columns that would pass the width are left out."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    while len(widths) > 2 and 2 + sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths.pop()
    return [
        "  "
        + "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def _range(low: float | None, high: float | None, *, sign: bool) -> str:
    if low is None or high is None:
        return _DASH
    show = signed if sign else figure
    return f"{show(low)} to {show(high)}"


def _number(value: float | None) -> str:
    return _DASH if value is None else figure(value)


def _p(value: float | None) -> str:
    return _DASH if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def _arms(findings: Findings) -> list[str]:
    """Every arm's mean and interval by the primary metric, the other means beside it."""
    leading = findings.primary if findings.primary in findings.intervals else next(iter(findings.intervals), None)
    if leading is None:
        return []
    others = [metric for metric in findings.intervals if metric != leading][:_MOST_OTHERS]
    rows = [["arm", metric_name(leading), "95 % interval", *map(metric_name, others)]]
    if findings.good:
        rows[0].insert(3, "good")
    for arm, row in findings.intervals[leading].items():
        cells = [_short(arm, 24), _number(row.mean), _range(row.low, row.high, sign=False)]
        if findings.good:
            good = findings.good.get(arm)
            cells.append(f"{good.good} of {good.of}" if good else _DASH)
        rows.append([*cells, *(_number(findings.intervals[metric][arm].mean) for metric in others)])
    none = {_short(arm, 24): row.reason for arm, row in findings.intervals[leading].items() if row.low is None}
    return ["", *_set(rows), *_without_interval(none)]


def _without_interval(reasons: Mapping[str, str | None]) -> Iterable[str]:
    """Why a row has no interval, one sentence for all that share the reason."""
    for reason in dict.fromkeys(filter(None, reasons.values())):
        names = ", ".join(name for name, own in reasons.items() if own == reason)
        yield from _wrap(f"no interval of {names}: {reason}", first="  ", then="  ")


def _pairs(findings: Findings) -> list[str]:
    """Every two arms by the primary metric on new prompts; on these prompts beside it."""
    new = [p for p in findings.pairs if p.metric == findings.primary and p.question == "new"]
    if not new:
        return []
    these = {(p.a, p.b): p for p in findings.pairs if p.metric == findings.primary and p.question == "these"}
    again = {(p.a, p.b): p for p in findings.pairs if p.metric == findings.primary and p.question == "retrained"}
    shown = sorted(new, key=lambda p: (p.p is None, p.p or 0.0))[:_MOST_PAIRS]
    head = [metric_name(findings.primary or ""), "differs by", "95 % interval", "p", "Holm"]
    head += ["these"] * bool(these) + ["retrained"] * bool(again) + ["+ - ="]
    rows = [head]
    for pair in shown:
        cells = [f"{_short(pair.a, 15)} - {_short(pair.b, 15)}", *_pair_cells(pair)]
        cells += [_p(these[pair.a, pair.b].p)] if these else []
        cells += [_p(again[pair.a, pair.b].p)] if again else []
        rows.append([*cells, _DASH if pair.wins is None else f"{pair.wins} {pair.losses} {pair.ties}"])
    lines = ["", *_set(rows)]
    if len(new) > len(shown):
        lines.append(f"  {len(new) - len(shown)} more pairs: --json")
    other = [name for name, rows in (("these: p on these very prompts", these), ("retrained: p", again)) if rows]
    none = {f"{_short(p.a, 15)} - {_short(p.b, 15)}": p.reason for p in shown if p.low is None}
    arms = findings.intervals.get(findings.primary or "", {})
    rows_shown = [arms[arm] for p in shown for arm in (p.a, p.b) if arm is not None and arm in arms]
    tested = [p for p in shown if p.p is not None]
    open_rows = any(p.low is None for p in tested) or (bool(tested) and any(row.low is None for row in rows_shown))
    whole = isinstance(metric_named(findings.primary or ""), ArmMetric)
    test = "swapping the two arms' texts" if whole else "the signs of differences"
    asked = "p: on new prompts" + f", by {test}, which needs no interval" * open_rows
    return [
        *lines,
        *_without_interval(none),
        *_wrap("; ".join([asked, "Holm: corrected for all pairs", *other]), first="  ", then="  "),
    ]


def _pair_cells(pair: Comparison) -> list[str]:
    return [
        _DASH if pair.difference is None else signed(pair.difference),
        _range(pair.low, pair.high, sign=True),
        _p(pair.p),
        _p(pair.p_holm) if pair.confirmatory or pair.p is None else "explor.",
    ]


def _percent(rate: float | None) -> str:
    return _DASH if rate is None else f"{100 * rate:.0f} %"


def _excess(row: Diagnostic) -> float:
    known = [rate for rate in row.arms.values() if rate is not None]
    # Without references of their own to compare with (one reference a prompt), half of all is notable.
    return max(known, default=0.0) - (0.4 if row.references is None else row.references)


def _diagnostics(findings: Findings) -> list[str]:
    """What goes wrong more often in an arm than in the references."""
    notable = [row for row in findings.diagnostics if row.unit == "share" and _excess(row) >= _NOTABLE]
    shown = sorted(notable, key=lambda row: -_excess(row))[:_MOST_DIAGNOSTICS]
    if not shown:
        return []
    arms = list(shown[0].arms)
    rows = [["more often than in references", "references", *(_short(arm, 12) for arm in arms)]]
    rows += [[row.name, _percent(row.references), *(_percent(row.arms[arm]) for arm in arms)] for row in shown]
    return ["", *_set(rows)]


def _power(findings: Findings) -> Iterable[str]:
    known = [row for row in findings.power if row.detectable is not None]
    if known:
        least, most = min(row.detectable or 0 for row in known), max(row.detectable or 0 for row in known)
        span = figure(most) if least == most else f"{figure(least)} to {figure(most)}"
        n = sorted({row.n_prompts for row in known})
        n_prompts = str(n[0]) if len(n) == 1 else f"{n[0]} to {n[-1]}"
        yield f"Power: {n_prompts} prompts have 80 % power to detect a true difference of {span}."
    elif findings.power:
        yield f"Power: {next(row.reason for row in findings.power)}."


def _people(findings: Findings) -> Iterable[str]:
    found = findings.agreement
    if found is not None and found.n_raters > 1 and found.raw.value is not None:
        alpha = found.krippendorff_alpha
        shown = f"undefined, for {alpha.reason}" if alpha.value is None else figure(alpha.value)
        yield (
            f"Raters agree on {100 * found.raw.value:.0f} % of {found.raw.n_items} texts; Krippendorff's alpha "
            f"({found.level}) {shown}."
        )
    for metric, row in list(findings.metric_vs_people.items())[:1]:
        within, best = row.concordance, row.ranking
        if within.value is None:
            yield f"{metric_name(metric)} beside the raters: undefined, for {within.reason}."
            continue
        bounds = _range(within.low, within.high, sign=False)
        interval = "" if bounds == _DASH else f" ({bounds})"
        text = (
            f"{metric_name(metric)} puts {100 * within.value:.0f} %{interval} of differently graded pairs in the "
        )
        text = text.replace(f"({bounds})", f"(95 % interval {bounds})") + "order raters do; 50 % is chance."
        if best.same_best is not None:
            text += f" Both name one best arm in {100 * best.same_best:.0f} % of resamples."
        if best.n_arms == 3:
            text += " With three arms even a perfect rank correlation has p = 1/6."
        yield text


def _retained(findings: Findings) -> Iterable[str]:
    """What tuning broke."""
    arms = [
        f"{arm} {figure(row.bits_per_byte)}" + ("" if row.to_base is None else f" ({signed(row.to_base)})")
        for arm, row in findings.retained.items()
    ]
    if arms:
        yield f"Other text, bits a byte (beside the base's): {', '.join(arms)}."


def _references(findings: Findings) -> Iterable[str]:
    """How likely each arm finds the held-out references."""
    arms = [
        f"{arm} {figure(row.bits_per_byte)}"
        + ("" if row.to_base is None else f" ({signed(row.to_base)})")
        + f", perplexity {row.perplexity:.4g}"
        for arm, row in findings.references.items()
    ]
    if arms:
        yield f"References, bits a byte (beside the base's): {'; '.join(arms)}."


def _sections(findings: Findings) -> Iterable[list[str]]:
    yield _arms(findings)
    if grid := grid_lines(findings.good_grid):
        yield ["", *grid]
    yield _pairs(findings)
    yield [line for block in confusion_in_brief(findings) for line in ("", *block_lines(block))]
    yield _diagnostics(findings)
    for found in findings.slices:
        if found.parts:
            yield ["", *block_lines(slices_table(found))]
    texts = (
        *_people(findings),
        *_references(findings),
        *_retained(findings),
        *_power(findings),
        *filter(None, [break_even(findings.costs)]),
    )
    notes = [line for text in texts for line in _wrap(text)]
    yield ["", *notes] if notes else []
    warnings = [line for text in findings.warnings for line in _wrap(text, first="  - ", then="    ")]
    yield ["", "Warnings:", *warnings] if warnings else []
    signature = findings.signatures.get(findings.primary or "")
    yield ["", signature] if signature else []


def view(findings: Findings) -> str:
    """The findings as text."""
    lines: list[str] = []
    if findings.verdict_warnings:
        texts = tuple(row.text for row in findings.verdict_warnings)
        lines += [*block_lines(Notice(texts, HEADING, Level.GRAVE)), ""]
    lines += _wrap(findings.verdict or "There is no verdict.")
    if findings.beside is not None:
        lines += _wrap(findings.beside.text)
        lines += _wrap(findings.beside.agreement)
    if findings.recommendation is not None:
        lines += _wrap(findings.recommendation.text)
    for section in _sections(findings):
        lines += section
    return "\n".join(line for line in lines)
