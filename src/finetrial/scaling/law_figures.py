"""Pictures of a law, of the worth of repetition and of a fit.

Every function returns a matplotlib Figure and writes nothing. The object interface is used throughout, so no figure
depends on what another one set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from finetrial.scaling.allocation import allocate
from finetrial.scaling.decisions import bands, optimum_of
from finetrial.scaling.fitting import Fit
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.repeated_data import NO_RULE, Rule
from finetrial.scaling.resampling import Bootstrap
from finetrial.scaling.target_loss import train
from finetrial.scaling.training_runs import COEFFICIENTS
from finetrial.units import format_count

INK, SOFT, FAINT = "#1f2933", "#66717d", "#dfe4e8"
ACCENT = "#c8452c"
# distinguishable with any common colour blindness (after Okabe and Ito)
SERIES = ("#1b6ca8", "#c8452c", "#2f8f6b", "#8a5aa5", "#b7791f")
LOSS_COLOURS = LinearSegmentedColormap.from_list("loss", ["#173f5f", "#2f7f9e", "#8cc3b8", "#e6efd6", "#fbf7ea"])
SIZE_COLOURS = LinearSegmentedColormap.from_list("size", ["#f0b63f", "#d9653b", "#8f3b76", "#2b2a66"])


def contours(law: ParametricLaw, *, budgets: Sequence[float]) -> Figure:
    """The loss over size and data, lines of equal compute, and the best size on each."""
    optima = [allocate(law, flops=flops, unique_tokens=None, rule=NO_RULE).best for flops in budgets]
    params = np.array([run.params for run in optima])
    tokens = np.array([run.tokens_processed for run in optima])
    x = np.geomspace(params.min() / 12, params.max() * 12, 240)
    y = np.geomspace(tokens.min() / 12, tokens.max() * 12, 240)
    loss = law.E + law.A / x[None, :] ** law.alpha + law.B / y[:, None] ** law.beta
    levels = _loss_levels(float(loss.min()), float(loss.max()))
    figure = Figure(figsize=(7.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.contourf(x, y, loss, levels=levels, cmap=LOSS_COLOURS, extend="both")
    lines = axes.contour(x, y, loss, levels=levels, colors="white", linewidths=0.7, alpha=0.9)
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    for flops in budgets:
        axes.plot(x, flops / (6 * x), color=INK, linewidth=0.8, linestyle=(0, (5, 4)), alpha=0.75)
    path = np.geomspace(min(budgets) / 1e3, max(budgets) * 1e3, 60)
    best = optimum_of(np.array([[law.coefficients[name] for name in COEFFICIENTS]]), flops=path)
    axes.plot(best["params"].ravel(), best["tokens"].ravel(), color=ACCENT, linewidth=1.8)
    axes.plot(params, tokens, "o", color="white", markeredgecolor=ACCENT, markeredgewidth=1.8, markersize=6.5)
    for run in optima:
        axes.annotate(
            f"{format_count(run.params, digits=3)} on {format_count(run.tokens_processed, digits=3)}",
            (run.params, run.tokens_processed),
            xytext=(9, -4),
            textcoords="offset points",
            color=INK,
            fontsize=8.5,
            bbox={"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    _log_counts(axes.xaxis)
    _log_counts(axes.yaxis)
    for label in axes.clabel(lines, levels=levels[::2], fmt="%.3g", fontsize=8, colors=INK):
        label.set_path_effects(_halo())
    axes.set_xlabel("parameters")
    axes.set_ylabel("tokens")
    _title(axes, "Loss over size and data", f"{law.name}; the red line is the best size for each compute")
    _style(axes, grid=False)
    figure.draw_without_rendering()  # settles the layout, which the angle of the labels depends on
    for flops in budgets:
        _label_along(axes, flops, text=f"{_power(flops)} FLOPs")
    return figure


def repetition(
    law: ParametricLaw, *, params: float, unique_tokens: float, rules: Sequence[Rule], most_epochs: float = 64
) -> Figure:
    """The loss over passes through the same data under several rules, each with the limit it approaches."""
    epochs = np.geomspace(0.5, most_epochs, 200)
    figure = Figure(figsize=(7.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    ends: list[tuple[float, str, str]] = []
    for colour, rule in zip(SERIES, rules, strict=False):
        loss = [
            train(law, params=params, tokens=e * unique_tokens, unique_tokens=unique_tokens, rule=rule).loss
            for e in epochs
        ]
        axes.plot(epochs, loss, color=colour, linewidth=2.0, solid_capstyle="round")
        ends.append((loss[-1], rule.name, colour))
    once = train(law, params=params, tokens=unique_tokens, unique_tokens=unique_tokens, rule=rules[0])
    axes.axhline(law.floor(params), color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
    axes.text(
        epochs[0] * 1.05,
        law.floor(params),
        f"floor at this size, {law.floor(params):.4g}",
        va="bottom",
        color=SOFT,
        fontsize=8.5,
        path_effects=_halo(),
    )
    axes.axvline(1, color=FAINT, linewidth=1.2, zorder=0)
    axes.plot([1], [once.loss], "o", color="white", markeredgecolor=INK, markeredgewidth=1.4, markersize=6)
    axes.annotate(
        f"one epoch: {once.loss:.4g}", (1, once.loss), xytext=(8, 8), textcoords="offset points", color=INK
    )
    axes.set_xscale("log", base=2)
    ticks = [2.0**k for k in range(-1, int(math.log2(most_epochs)) + 1)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(epochs[0], most_epochs)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.04 * (high - low), high)
    for position, name, colour in _spread_labels(ends, gap=0.05 * (high - low)):
        axes.annotate(
            name,
            (1, position),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )
    axes.set_xlabel("epochs over the same data (each costs as much as the first)")
    axes.set_ylabel("loss, nats a token")
    _title(
        axes,
        "What further epochs are worth",
        f"{format_count(params)} parameters, {format_count(unique_tokens)} unique tokens, {law.name}",
    )
    _style(axes)
    return figure


def fit(found: Fit, *, sample: Bootstrap | None) -> Figure:
    """The runs with the best loss at each compute, and the best size, both with their 95 % band."""
    runs = found.runs
    largest = float(runs.flops_R.max())
    flops = np.geomspace(float(runs.flops_R.min()), 30 * largest, 91)
    point = np.array([[found.coefficients[name] for name in COEFFICIENTS]])
    best = optimum_of(point, flops=flops[:, None])
    marks = flops[:: 6 if sample is None else 1]  # few runs: each place is a walk of its own
    band = bands(found, flops_F=marks, sample=sample)
    figure = Figure(figsize=(10.2, 4.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    dots = left.scatter(
        runs.flops_R,
        runs.loss_R,
        c=runs.params_R,
        cmap=SIZE_COLOURS,
        norm=LogNorm(),
        s=17,
        linewidths=0.3,
        edgecolors="white",
    )
    bar = figure.colorbar(dots, ax=left, pad=0.015, aspect=32)
    bar.set_label("parameters", color=SOFT)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=SOFT, labelsize=8.5, length=3)
    bar.ax.tick_params(which="minor", length=0)
    _log_counts(bar.ax.yaxis)
    for axes, name in ((left, "loss"), (right, "params")):
        middle = best[name].ravel()
        axes.fill_between(marks, *band[name], color=SERIES[0], alpha=0.2, linewidth=0)
        inside = flops <= largest
        axes.plot(flops[inside], middle[inside], color=SERIES[0], linewidth=2)
        axes.plot(flops[~inside], middle[~inside], color=SERIES[0], linewidth=2, linestyle=(0, (4, 2.5)))
        axes.axvline(largest, color=SOFT, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("training compute, FLOPs")
        _style(axes)
    right.scatter(runs.flops_R, runs.params_R, s=7, color=SOFT, alpha=0.35, linewidths=0)
    right.set_yscale("log")
    right.yaxis.set_minor_formatter(NullFormatter())
    _log_counts(right.yaxis)
    right.set_ylabel("parameters")
    right.text(
        largest * 1.15, 0.03, "beyond the runs", transform=right.get_xaxis_transform(), color=SOFT, fontsize=8.5
    )
    left.set_ylabel("loss, nats a token")
    top = float(np.quantile(runs.loss_R, 0.98))
    bottom = float(min(best["loss"].min(), runs.loss_R.min()))
    left.set_ylim(bottom - 0.04 * (top - bottom), top + 0.06 * (top - bottom))
    above = int((runs.loss_R > left.get_ylim()[1]).sum())
    hidden = f"; {above} runs above the frame" if above else ""
    _title(left, "The runs and the best loss at each compute", f"{len(runs)} runs, 95 % band of the line{hidden}")
    _title(right, "The best size at each compute", "95 % band; grey: the sizes of the runs")
    return figure


def _style(axes: Axes, *, grid: bool = True) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(SOFT)
        axes.spines[side].set_linewidth(0.8)
    axes.tick_params(colors=SOFT, labelsize=8.5, length=3, width=0.8)
    axes.tick_params(which="minor", length=0)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(which="major", color=FAINT, linewidth=0.7)


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=12, color=INK, fontweight="bold", pad=22)
    axes.text(0, 1.025, subtitle, transform=axes.transAxes, color=SOFT, fontsize=9, va="bottom")


def _log_counts(axis: Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value, digits=3)))
    axis.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10**exponent
    base = rf"$10^{{{exponent}}}$"
    return base if abs(mantissa - 1) < 1e-6 else rf"{mantissa:.3g}$\times${base}"


def _loss_levels(low: float, high: float) -> np.ndarray:
    """About sixteen levels, closer together near the floor, where the loss hardly moves."""
    share = np.linspace(0.02, 0.9, 16)
    levels = low + (high - low) * share**2.2
    return np.unique(np.round(levels, 2 if high - low > 0.5 else 3))


def _label_along(axes: Axes, flops: float, *, text: str) -> None:
    """Write along a line of equal compute, near where it enters the frame on the left or at the top."""
    (left, right), (bottom, top) = np.log10(axes.get_xlim()), np.log10(axes.get_ylim())
    x = left + 0.03 * (right - left)
    y = math.log10(flops / 6) - x
    if y > top - 0.06 * (top - bottom):
        y = top - 0.06 * (top - bottom)
        x = math.log10(flops / 6) - y
    box = axes.get_window_extent()
    slope = (box.height / (top - bottom)) / (box.width / (right - left))
    axes.text(
        10**x,
        10**y,
        text,
        rotation=-math.degrees(math.atan(slope)),
        rotation_mode="anchor",
        color=INK,
        fontsize=8,
        va="bottom",
        path_effects=_halo(),
    )


def _halo() -> list[AbstractPathEffect]:
    return [withStroke(linewidth=2.6, foreground=(1, 1, 1, 0.75))]


def _spread_labels(ends: list[tuple[float, str, str]], *, gap: float) -> list[tuple[float, str, str]]:
    """Move labels apart that would stand on one another, from the lowest up."""
    placed: list[tuple[float, str, str]] = []
    for position, name, colour in sorted(ends):
        lowest = placed[-1][0] + gap if placed else position
        placed.append((max(position, lowest), name, colour))
    return placed
