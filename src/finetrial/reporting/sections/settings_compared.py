"""Show what each setting in which tuned arms differ has gained: the ranks, rates and rows of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from finetrial.evidence.by_factor import Factor, Level, factors_of
from finetrial.evidence.findings import MoreRows
from finetrial.metrics.metric_table import metric_name
from finetrial.reporting import formats
from finetrial.reporting.document import Block, Figure, Paragraph, SectionMaker, Table, TableCell, TableRow
from finetrial.reporting.drawings import factor_lines
from finetrial.reporting.results import Material

_NOTE = (
    "The mean of the arms that have the value, and what it gained over the first one: prompt by prompt, over the "
    "pairs of arms that are alike in all else, with the 95\u00a0% interval over new prompts. Exploratory: no "
    "comparison of settings was named to decide, and none is corrected."
)
_FAR = 100  # times as many rows: beyond that a number says nothing
_CAPTION = "A dot an arm; the line joins the means of the arms that share a value."


def _factors(material: Material) -> tuple[Factor, ...]:
    arms = [arm for arm in material.records.arms if arm.arm.tuned]
    settings: dict[str, Mapping[str, object]] = {}
    for arm in arms:
        keys = arm.arm.model_dump(mode="json", exclude_unset=True)
        settings[arm.name] = {key: value for key, value in keys.items() if key != "method"}
    return factors_of(
        settings,
        methods={arm.name: arm.arm.method.name for arm in arms},
        means=material.results.prompt_means,
        groups={sample.prompt_id: sample.group for arm in arms for sample in arm.samples},
    )


def _row(level: Level) -> TableRow:
    gain = level.gain
    span: tuple[str, ...] = ()
    if gain is not None and gain.low is not None and gain.high is not None:
        span = (formats.difference_span(gain.low, gain.high),)
    cells = (
        TableCell(str(len(level.arms))),
        TableCell(formats.score(level.mean)),
        TableCell(formats.difference(None if gain is None else gain.estimate), span),
        TableCell(str(level.n_pairs) if level.n_pairs else formats.DASH),
    )
    return TableRow(_shown(level.value), cells)


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


_ROWS_NOTE = (
    "The loss of a held-out reference's token in nats; below zero is less loss. Forecasts follow a law fitted to "
    "these arms, floor + gain / rows^exponent; the intervals are those over other held-out references, not over "
    "other training runs, and a forecast reaches beyond what was tuned."
)


_PILOTS_NOTE = (
    "The loss of a validation token in nats; below zero is less loss. Forecasts follow a law fitted to the pilots "
    "and the run on all rows, floor + gain / rows^exponent, and reach beyond what was tuned; no interval is known."
)


def _names(found: MoreRows) -> tuple[str, ...]:
    """What each loss is of."""
    pilots = len(found.rows) - len(found.arms)
    return (*[f"{found.arms[0]}, pilot"] * pilots, *found.arms)


def _more_rows(found: MoreRows, *, place: int) -> Iterable[Block]:
    """What was measured by rows, what is forecast for more, and what another setting changed instead."""
    loss, most = found.losses[-1], found.rows[-1]
    rows = [
        TableRow(arm, (TableCell(f"{count:,}"), TableCell(formats.score(value)), TableCell(formats.DASH)))
        for arm, count, value in zip(_names(found), found.rows, found.losses, strict=True)
    ]
    for forecast in found.forecasts:
        span: tuple[str, ...] = ()
        if forecast.low is not None and forecast.high is not None:
            span = (formats.difference_span(forecast.low, forecast.high),)
        change = f"{formats.difference(forecast.change)} ({formats.signed_percent(forecast.change / loss)})"
        name = f"forecast for {forecast.rows / most:g} times the rows"
        expected = formats.score(loss + forecast.change)
        rows.append(
            TableRow(name, (TableCell(f"{forecast.rows:,.0f}"), TableCell(expected), TableCell(change, span)))
        )
    for one in found.instead:
        change = f"{formats.difference(one.change)} ({formats.signed_percent(one.change / loss)})"
        name = f"{one.arm}: {one.key.replace('_', ' ')} {_shown(one.was)} to {_shown(one.value)}"
        rows.append(
            TableRow(name, (TableCell(f"{most:,}"), TableCell(formats.score(loss + one.change)), TableCell(change)))
        )
    yield Table(
        f"more-rows-{place}",
        "Arm",
        ("Rows", "Loss", f"Beside {found.arms[-1]}"),
        tuple(rows),
        _PILOTS_NOTE if found.from_pilots else _ROWS_NOTE,
        title=f"More rows, {' to '.join(dict.fromkeys((found.arms[0], found.arms[-1])))}",
    )
    yield Paragraph(_rows_wanted(found))


def _rows_wanted(found: MoreRows) -> str:
    if found.rows_for_less is None:
        return "No number of rows is forecast to lower the loss by 1 %."
    if found.rows_for_less > _FAR * found.rows[-1]:
        return f"More than {_FAR} times as many rows are forecast for 1 % less loss."
    return f"1 % less loss is forecast at about {found.rows_for_less:,.0f} rows."


def _settings(material: Material) -> Iterable[Block]:
    factors, metric = _factors(material), metric_name(material.results.metric or "")
    drawing = factor_lines(factors, material.results)
    if drawing is not None:
        yield Figure(drawing, _CAPTION)
    for place, factor in enumerate(factors):
        name = factor.key.replace("_", " ")
        yield Table(
            f"factor-{place}",
            name[0].upper() + name[1:],
            ("Arms", f"Mean {metric}", "Gained", "Pairs of arms"),
            tuple(map(_row, factor.levels)),
            _NOTE if place == len(factors) - 1 else "",
            title=f"{name[0].upper()}{name[1:]}, {factor.method}",
        )
    for place, found in enumerate(material.results.findings.more_rows):
        yield from _more_rows(found, place=place)


SETTINGS = SectionMaker(
    "settings",
    "By setting",
    _settings,
    needs=lambda material: (
        material.results.metric is not None and (_factors(material) or material.results.findings.more_rows)
    ),
)
