"""Draw the verdict: every arm's mean with its interval, by what decides and by what stands beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finetrial.metrics.metric_table import metric_name
from finetrial.plotting import load_matplotlib
from finetrial.reporting.document import Drawing
from finetrial.reporting.drawings import Request, drawing
from finetrial.reporting.formats import score, span
from finetrial.reporting.palette import LIGHT, arm_role
from finetrial.reporting.results import ArmResult, Cell, Results
from finetrial.store.hashes import hash_value
from finetrial.store.records import as_object

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW, _ABOVE, _BELOW, _BETWEEN = 0.34, 0.36, 0.34, 0.12  # inches
_LABEL, _VALUE = 0.095, 0.55  # inches a letter of a name, and of the value at the end of a row


def _panels(results: Results) -> list[tuple[str, list[tuple[ArmResult, Cell]]]]:
    """The metrics to draw, each with the arms that have a mean by it."""
    beside = results.findings.beside
    named = [name for name in (results.metric, None if beside is None else beside.metric) if name is not None]
    found = []
    for name in dict.fromkeys(name for name in named if name in results.metrics):
        rows = [(arm, results.metrics[name][arm.name]) for arm in results.sampled_arms]
        found.append((name, [(arm, cell) for arm, cell in rows if cell.mean is not None]))
    return found


def verdict_figure(results: Results) -> Drawing | None:
    """The arms' means with their intervals; None where fewer than two arms have a mean, or none an interval."""
    panels = _panels(results)
    known = [cell for _, rows in panels for _, cell in rows if cell.low is not None]
    if not known or len(panels[0][1]) < 2:
        return None
    heights = [_ABOVE + _ROW * len(rows) + _BELOW for _, rows in panels]
    whole = sum(heights) + _BETWEEN * (len(panels) - 1)

    def draw(inches: float) -> Figure:
        figure: Figure = load_matplotlib().figure.Figure(figsize=(inches, whole))
        longest = max(len(arm.name) for _, rows in panels for arm, _ in rows)
        left = min(_LABEL * longest + 0.2, 0.4 * inches)
        top = whole
        for (name, rows), height in zip(panels, heights, strict=True):
            bottom = top - _ABOVE - _ROW * len(rows)
            box = (left / inches, bottom / whole, (inches - left - _VALUE) / inches, _ROW * len(rows) / whole)
            _draw_panel(figure.add_axes(box), name, rows)
            top -= height + _BETWEEN
        return figure

    said = [
        f"By {metric_name(name)}: " + ", ".join(f"{arm.name} {_with_interval(cell)}" for arm, cell in rows)
        for name, rows in panels
    ]
    drawn = [[name, [[arm.name, arm.slot, as_object(cell)] for arm, cell in rows]] for name, rows in panels]
    description = f"Each arm's mean with its 95 % interval. {'; '.join(said)}."
    return drawing(Request("verdict", "The arms by what decides", description, hash_value(drawn), {}, draw))


def _with_interval(cell: Cell) -> str:
    known = cell.low is not None and cell.high is not None
    return f"{score(cell.mean)} ({span(cell.low or 0.0, cell.high or 0.0)})" if known else score(cell.mean)


def _draw_panel(axes: Axes, name: str, rows: list[tuple[ArmResult, Cell]]) -> None:
    values = [v for _, cell in rows for v in (cell.mean, cell.low, cell.high) if v is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    pad = 0.03 * ((high - low) or 1.0)
    axes.set_xlim(low - pad, high + pad if high > low else 1.0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(metric_name(name), loc="left", fontsize=9.5, color=LIGHT["muted"], pad=7, x=0)
    for place, (arm, cell) in enumerate(rows):
        colour = LIGHT[arm_role(arm.slot)]
        if cell.low is not None and cell.high is not None:
            axes.plot([cell.low, cell.high], [place] * 2, color=colour, linewidth=4, alpha=0.45)
        assert cell.mean is not None  # arms without one are left out
        axes.plot([cell.mean], [place], color=colour, marker="o", markersize=6, clip_on=False)
        for x, text, align in ((0, arm.name, "right"), (1, score(cell.mean), "left")):
            axes.annotate(
                text,
                xy=(x, place),
                xycoords=("axes fraction", "data"),
                xytext=(8 if x else -8, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                color=colour,
                fontweight="bold",
                annotation_clip=False,
            )
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=3, width=0.8)
    axes.xaxis.set_major_locator(load_matplotlib().ticker.MaxNLocator(4))
