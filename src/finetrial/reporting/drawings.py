"""Draw losses and scores, by arm and by setting, with matplotlib, which is imported when something is drawn.

Colours are drawn as the light page has them; `svg.themed` turns them into the page's own, so that a figure follows
the reader's light or dark.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from finetrial.evidence.by_factor import Factor, Level
from finetrial.metrics.metric_table import metric_name
from finetrial.plotting import load_matplotlib
from finetrial.reporting.document import Drawing
from finetrial.reporting.formats import score
from finetrial.reporting.palette import LIGHT, arm_role
from finetrial.reporting.results import ArmResult, Results
from finetrial.reporting.svg import themed
from finetrial.store.hashes import hash_value
from finetrial.store.records import TrainingPoint, as_object
from finetrial.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE_INCHES, NARROW_INCHES = 7.6, 3.7  # a page's column and a phone's, at 96 px an inch
MOST_POINTS = 400  # of one training curve; beyond, means of equal blocks
MOST_DOTS = 1_000  # of one arm; beyond, every k-th in order of score
_POINT = 1 / 72  # inches

_SETTING: Any = {  # by names that newer stubs of matplotlib list one by one, and older ones do not
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.edgecolor": LIGHT["rule"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LIGHT["rule"],
    "ytick.color": LIGHT["rule"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.labelcolor": LIGHT["muted"],
    "svg.fonttype": "none",
    "path.simplify": True,
}


def _save(figure: Figure, *, form: str) -> bytes:
    stream = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
    colour = "none" if form == "svg" else LIGHT["page"]
    figure.savefig(stream, format=form, dpi=200 if form == "png" else 72, metadata=metadata, facecolor=colour)
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Request:
    """A figure to draw, the same as another one where it is made from the same data."""

    name: str
    title: str
    description: str  # for who cannot see it
    made_from: str  # the hash of all that is drawn
    tips: Mapping[str, Sequence[str]] = field(compare=False)  # words behind the marks of a group, by the group's id
    draw: Callable[[float], Figure] = field(compare=False)


@lru_cache(maxsize=16)
def drawing(request: Request) -> Drawing:
    """Draw at both widths."""
    name, title, description, tips, draw = (
        request.name,
        request.title,
        request.description,
        request.tips,
        request.draw,
    )
    images = {}
    for width, inches in (("wide", WIDE_INCHES), ("narrow", NARROW_INCHES)):
        with load_matplotlib().rc_context({**_SETTING, "svg.hashsalt": f"{name}-{width}"}):
            figure = draw(inches)
            drawn = _save(figure, form="svg").decode()
            themed_as = partial(themed, drawn, title=title, description=description, tips=tips)
            images[width] = themed_as(prefix=f"{name}-{width}", alone=False)
            if width == "wide":
                images["file"] = themed_as(prefix=name, alone=True)
                png = _save(figure, form="png")
    return Drawing(name, title, description, images["wide"], images["narrow"], images["file"], png)


def _blocks(xs: Sequence[float], ys: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points: means of equal blocks."""
    size = max(1, -(-len(xs) // MOST_POINTS))  # none yet where tuning has only begun
    starts = range(0, len(xs), size)
    return [fmean(xs[i : i + size]) for i in starts], [fmean(ys[i : i + size]) for i in starts]


def _curve(points: Sequence[TrainingPoint], field: str) -> tuple[list[float], list[float]]:
    rows = [(p.tokens, getattr(p, field)) for p in points if getattr(p, field) is not None]
    return [float(x) for x, _ in rows], [y for _, y in rows]


def _spread(places: Sequence[float], *, gap: float) -> list[float]:
    """The places moved apart to at least `gap`, each group of neighbours about its own middle, order kept."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[int]] = []
    start: list[float] = []
    for index in order:
        groups.append([index])
        start.append(places[index])
        while len(groups) > 1 and start[-1] < start[-2] + gap * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
            middle = sum(places[i] for i in groups[-1]) / len(groups[-1])
            start[-2:] = [middle - gap * (len(groups[-1]) - 1) / 2]
    moved = list(places)
    for group, first in zip(groups, start, strict=True):
        for step, index in enumerate(group):
            moved[index] = first + gap * step
    return moved


def _quiet_ticks(axes: Axes) -> None:
    axes.tick_params(length=3, width=0.8)
    axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
    axes.set_axisbelow(True)


def _label_ends(axes: Axes, ends: Sequence[tuple[ArmResult, float, float]], *, height_inches: float) -> None:
    """Name each curve at its end, the names moved apart where they would touch."""
    low, high = axes.get_ylim()
    gap = (high - low) * 13 * _POINT / height_inches
    places = _spread([y for _, _, y in ends], gap=gap)
    for (arm, x, y), place in zip(ends, places, strict=True):
        axes.annotate(
            f"{arm.name} {y:.2f}",
            xy=(x, place),
            xytext=(7, 0),
            textcoords="offset points",
            color=LIGHT[arm_role(arm.slot)],
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def loss_curves(results: Results) -> Drawing | None:
    """Loss on the training and the validation data per tuned arm; None where no arm logged any."""
    arms = [arm for arm in results.arms if any(p.train_loss or p.validation_loss for p in arm.points)]
    if not arms:
        return None

    def draw(inches: float) -> Figure:
        height = 3.3 if inches > NARROW_INCHES else 3.0
        plain = load_matplotlib()
        figure: Figure = plain.figure.Figure(figsize=(inches, height))
        label_inches = 0.09 * max(len(arm.name) + 6 for arm in arms) + 0.1
        box = (0.48 / inches, 0.5 / height, (inches - 0.48 - label_inches) / inches, (height - 0.8) / height)
        axes = figure.add_axes(box)
        ends = []
        for arm in arms:
            colour = LIGHT[arm_role(arm.slot)]
            train, validation = (_curve(arm.points, f) for f in ("train_loss", "validation_loss"))
            axes.plot(*_blocks(*train), color=colour, linewidth=0.9, alpha=0.55)
            axes.plot(*validation, color=colour, linewidth=2.0, marker="o", markersize=3.6, clip_on=False)
            xs, ys = validation if validation[0] else train
            ends.append((arm, xs[-1], ys[-1]))
        _quiet_ticks(axes)
        axes.set_xlim(0, max(x for _, x, _ in ends) or 1)
        axes.xaxis.set_major_locator(plain.ticker.MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(
            plain.ticker.FuncFormatter(lambda value, _: format_count(value) if value >= 0 else "")
        )
        axes.yaxis.set_major_locator(plain.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("tokens processed")
        axes.set_title("nats a trained token", loc="left", fontsize=9.5, color=LIGHT["muted"], pad=8, x=0)
        _label_ends(axes, ends, height_inches=height - 0.8)
        return figure

    lasts = [(arm.name, _curve(arm.points, "validation_loss")[1]) for arm in arms]
    words = "; ".join(f"{name} from {ys[0]:.2f} to {ys[-1]:.2f}" for name, ys in lasts if ys)
    description = "Loss against tokens processed, one colour an arm." + (
        f" On validation data: {words}." if words else ""
    )
    made_from = hash_value([[arm.name, arm.slot, [as_object(point) for point in arm.points]] for arm in arms])
    return drawing(Request("losses", "Loss while tuning", description, made_from, {}, draw))


def _swarm(values: Sequence[float], *, dot: float, room: float) -> list[float]:
    """How far each value's dot stands from the middle line, so that dots of width `dot` hardly cover each other."""
    columns: dict[int, int] = {}
    offsets = []
    for value in values:
        column = round(value / dot)
        count = columns[column] = columns.get(column, -1) + 1
        offsets.append((count + 1) // 2 * (1 if count % 2 else -1))
    furthest = max((abs(offset) for offset in offsets), default=0)
    step = min(1.0, room / furthest) if furthest else 1.0
    return [offset * step for offset in offsets]


def score_dots(results: Results) -> Drawing | None:
    """Each prompt's score as a dot and the mean as a bar, per arm; None where nothing was scored."""
    metric = results.metric
    arms = [arm for arm in results.sampled_arms if results.prompt_means.get(arm.name)]
    if metric is None or not arms:
        return None
    numbers = {prompt_id: number for number, prompt_id in enumerate(results.prompts, start=1)}
    shown: dict[str, list[tuple[float, str]]] = {}
    for arm in arms:
        rows = sorted((value, prompt_id) for prompt_id, value in results.prompt_means[arm.name].items())
        shown[arm.name] = rows[:: -(-len(rows) // MOST_DOTS)]
    low = min(0.0, *(rows[0][0] for rows in shown.values()))
    high = max(rows[-1][0] for rows in shown.values())
    high = high if high > low else low + 1.0
    cells = results.metrics[metric]

    def draw(inches: float) -> Figure:
        row_inches = 0.62
        height = row_inches * len(arms) + 0.62
        plain = load_matplotlib()
        figure: Figure = plain.figure.Figure(figsize=(inches, height))
        left = min(0.095 * max(len(arm.name) for arm in arms) + 0.2, 0.4 * inches)
        right = 0.62
        width = inches - left - right
        axes = figure.add_axes((left / inches, 0.52 / height, width / inches, row_inches * len(arms) / height))
        pad = (high - low) * 0.02
        axes.set_xlim(low - pad, high + pad)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        dot_points = 4.4
        dot = dot_points * _POINT / width * (high - low + 2 * pad)
        at_base = None if results.base is None else cells[results.base].mean
        if at_base is not None:
            axes.axvline(at_base, color=LIGHT["arm0"], linewidth=0.9, linestyle=(0, (4, 3)))
        for row, arm in enumerate(arms):
            colour, cell = LIGHT[arm_role(arm.slot)], cells[arm.name]
            values = [value for value, _ in shown[arm.name]]
            room = 0.36 * row_inches / (dot_points * _POINT)
            offsets = _swarm(values, dot=dot, room=room)
            ys = [row + offset * dot_points * _POINT / row_inches for offset in offsets]
            dots = axes.scatter(values, ys, s=(dot_points - 0.6) ** 2, color=colour, alpha=0.45, linewidths=0)
            dots.set_gid(f"dots-{arm.name}")
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low, cell.high], [row, row], color=colour, linewidth=4.5, solid_capstyle="butt")
            assert cell.mean is not None  # an arm with prompt means has a mean
            axes.plot([cell.mean] * 2, [row - 0.4, row + 0.4], color=colour, linewidth=2.6, solid_capstyle="butt")
            side: dict[str, Any] = {"va": "center", "color": colour, "fontweight": "bold", "annotation_clip": False}
            for x, text, align in ((0, arm.name, "right"), (1, score(cell.mean), "left")):
                axes.annotate(
                    text,
                    xy=(x, row),
                    xycoords=("axes fraction", "data"),
                    xytext=(8 if x else -8, 0),
                    textcoords="offset points",
                    ha=align,
                    **side,
                )
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
        axes.tick_params(axis="x", length=3, width=0.8)
        axes.xaxis.set_major_locator(plain.ticker.MaxNLocator(5))
        axes.set_xlabel(metric_name(metric))
        return figure

    tips = {
        f"dots-{arm.name}": [f"{arm.name}, prompt {numbers[p]}: {score(v)}" for v, p in shown[arm.name]]
        for arm in arms
    }
    means = ", ".join(f"{arm.name} {score(cells[arm.name].mean)}" for arm in arms)
    description = f"Each prompt's {metric_name(metric)} as a dot, one row an arm, with the arm's mean: {means}."
    title = f"{metric_name(metric)} by arm"
    drawn = [[arm.name, arm.slot, shown[arm.name], as_object(cells[arm.name])] for arm in arms]
    made_from = hash_value([metric, results.base, drawn, tips])
    return drawing(Request("scores", title, description, made_from, tips, draw))


def factor_lines(factors: Sequence[Factor], results: Results) -> Drawing | None:
    """The mean score against every factor that is a number: a dot an arm, a line through the means of the levels;
    None where no factor is one."""
    shown = [factor for factor in factors if len(_numbers(factor)) > 1]
    if not shown or results.metric is None:
        return None
    metric, slots = metric_name(results.metric), {arm.name: arm.slot for arm in results.arms}
    means = {arm: fmean(values.values()) for arm, values in results.prompt_means.items() if values}

    def draw(inches: float) -> Figure:
        beside = min(len(shown), 3 if inches > NARROW_INCHES else 1)
        down, each, top = -(-len(shown) // beside), 2.5, 0.3
        plain = load_matplotlib()
        figure: Figure = plain.figure.Figure(figsize=(inches, each * down))
        panels = figure.subplots(down, beside, squeeze=False, sharey=True)
        figure.subplots_adjust(
            left=0.55 / inches,
            right=1 - 0.15 / inches,
            bottom=0.5 / each / down,
            top=1 - top / each / down,
            wspace=0.18,
            hspace=0.55,
        )
        for place, axes in enumerate(panels.flat):
            if place >= len(shown):
                axes.set_visible(False)
                continue
            factor = shown[place]
            levels = [(x, level) for x, level in _numbers(factor) if level.mean is not None]
            axes.plot(
                [x for x, _ in levels], [level.mean for _, level in levels], color=LIGHT["muted"], linewidth=1.6
            )
            for x, level in levels:
                for arm in level.arms:
                    if arm in means:
                        colour = LIGHT[arm_role(slots[arm])]
                        axes.plot([x], [means[arm]], "o", color=colour, markersize=5, alpha=0.85, clip_on=False)
            if levels and min(x for x, _ in levels) > 0:
                axes.set_xscale("log")
            axes.set_xticks([x for x, _ in levels], [f"{x:g}" for x, _ in levels])
            axes.minorticks_off()
            _quiet_ticks(axes)
            axes.set_xlabel(f"{factor.key.replace('_', ' ')}, {factor.method}")
        panels[0][0].set_title(metric, loc="left", fontsize=9.5, color=LIGHT["muted"], pad=8, x=0)
        return figure

    words = "; ".join(
        f"{factor.key} of {factor.method}: "
        + ", ".join(f"{x:g} {score(level.mean)}" for x, level in _numbers(factor))
        for factor in shown
    )
    description = f"Mean {metric} against each setting, a dot an arm and a line through the means: {words}."
    made_from = hash_value([description, {arm: [slots[arm], mean] for arm, mean in means.items()}])
    return drawing(Request("factors", f"{metric} by setting", description, made_from, {}, draw))


def _numbers(factor: Factor) -> list[tuple[float, Level]]:
    """A factor's levels as numbers; empty where one of them is none."""
    found = [(level.value, level) for level in factor.levels]
    numbers = [(float(v), level) for v, level in found if isinstance(v, (int, float)) and not isinstance(v, bool)]
    return numbers if len(numbers) == len(found) else []
