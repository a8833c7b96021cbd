"""Draw what pilots forecast: each arm's loss by its rows, the fitted curve, and what came on all rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from finetrial.evidence.early_outcome import EarlyArm, EarlyOutcome
from finetrial.plotting import load_matplotlib
from finetrial.reporting.document import Drawing
from finetrial.reporting.drawings import NARROW_INCHES, Request, drawing
from finetrial.reporting.formats import score
from finetrial.reporting.palette import LIGHT, arm_role
from finetrial.scaling.row_curve import FEWEST_SIZES, fit_rows
from finetrial.store.hashes import hash_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACES = 40  # of a curve


def pilot_curves(early: EarlyOutcome, *, slots: dict[str, int]) -> Drawing | None:
    """The figure; None where no arm has a pilot that came to its end."""
    arms = [arm for arm in early.arms if any(loss is not None for loss in arm.losses)]
    if not arms:
        return None

    def draw(inches: float) -> Figure:
        height = 3.2
        plain = load_matplotlib()
        figure: Figure = plain.figure.Figure(figsize=(inches, height))
        names = 0.09 * max(len(arm.arm) for arm in arms) + 0.2
        axes = figure.add_axes(
            (0.55 / inches, 0.5 / height, (inches - 0.55 - names) / inches, (height - 0.85) / height)
        )
        for arm in arms:
            _draw_arm(axes, arm, colour=LIGHT[arm_role(slots[arm.arm])])
        axes.set_xscale("log")
        marks = sorted({rows for arm in arms for rows in (*arm.rows, arm.full_rows)})
        step = 1 if inches > NARROW_INCHES else 2
        axes.set_xticks(marks[::-1][::step], [f"{mark:,}" for mark in marks[::-1][::step]])
        axes.minorticks_off()
        axes.tick_params(length=3, width=0.8)
        axes.grid(axis="y", color=LIGHT["rule"], linewidth=0.6)
        axes.set_xlabel("rows tuned on")
        axes.set_title("nats a validation token", loc="left", fontsize=9.5, color=LIGHT["muted"], pad=8, x=0)
        return figure

    words = "; ".join(_words(arm) for arm in arms)
    description = f"Validation loss against the rows tuned on, one colour an arm: {words}."
    made_from = hash_value([[asdict(arm), slots[arm.arm]] for arm in arms])
    return drawing(Request("pilots", "What the pilots forecast", description, made_from, {}, draw))


def _draw_arm(axes: Axes, arm: EarlyArm, *, colour: str) -> None:
    found = [(rows, loss) for rows, loss in zip(arm.rows, arm.losses, strict=True) if loss is not None]
    rows, losses = [row for row, _ in found], [loss for _, loss in found]
    axes.plot(rows, losses, "o", color=colour, markersize=4.5, clip_on=False)
    end = arm.tuned if arm.tuned is not None else arm.forecast
    if len(set(rows)) >= FEWEST_SIZES:
        curve, ratio = fit_rows(rows, losses), arm.full_rows / rows[0]
        places = [rows[0] * ratio ** (place / _PLACES) for place in range(_PLACES + 1)]
        axes.plot(places, [curve.loss_at(place) for place in places], color=colour, linewidth=1.4)
        end = curve.loss_at(arm.full_rows) if end is None else end
    else:
        axes.plot(rows, losses, color=colour, linewidth=1.4)
    if arm.forecast is not None and arm.low is not None and arm.high is not None:
        axes.plot([arm.full_rows] * 2, [arm.low, arm.high], color=colour, linewidth=3.0, alpha=0.35)
    if arm.tuned is not None:
        axes.plot([arm.full_rows], [arm.tuned], "D", color=colour, markersize=5, clip_on=False)
    axes.annotate(
        arm.arm,
        xy=(arm.full_rows, losses[-1] if end is None else end),
        xytext=(8, 0),
        textcoords="offset points",
        color=colour,
        fontweight="bold",
        va="center",
        annotation_clip=False,
    )


def _words(arm: EarlyArm) -> str:
    pilots = ", ".join(
        f"{score(loss)} on {rows:,}" for rows, loss in zip(arm.rows, arm.losses, strict=True) if loss is not None
    )
    came = "" if arm.tuned is None else f", {score(arm.tuned)} on all {arm.full_rows:,}"
    return f"{arm.arm} {pilots}{came}"
