"""What did a ladder find, as tables and a picture?

Reads what ladder.py left in a folder (rungs.csv, the fits, prediction.json, larger.json and, where runs repeat
their data, repetition.json) and nothing else, so that the tables of a ladder that was kept can be made again.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from finetrial.scaling.law_figures import INK, SIZE_COLOURS, SOFT
from finetrial.store.files import atomic_path, atomic_text
from finetrial.units import format_count

COEFFICIENTS = ("E", "A", "B", "alpha", "beta")
NAMES = {"params": "every parameter", "params_body": "without embeddings"}


def write_tables(folder: Path) -> None:
    """Write ladder.md and ladder.svg beside the records."""
    atomic_text(folder / "ladder.md", tables(folder))
    style = {"svg.hashsalt": "finetrial", "svg.fonttype": "none"}
    with rc_context(style), atomic_path(folder / "ladder.svg") as temporary:
        picture(folder).savefig(temporary, format="svg", metadata={"Date": None})


def tables(folder: Path) -> str:
    """The prediction beside the measurement, the runs, the law's constants and what repetition was worth."""
    rows, prediction, larger = _rows(folder), _read(folder / "prediction.json"), _read(folder / "larger.json")
    fits = {name: _read(folder / f"fit-{name}.json") for name in NAMES}
    definition = prediction["definition"]
    fit = fits[definition]
    parts = [_outcome(prediction, larger), _one_epoch(rows, fit, definition=definition), _constants(fits)]
    if any(row["epochs"] > 1 for row in rows):
        found = _read(folder / "repetition.json")["repetition"]
        parts.append(_repeated(rows, fit, definition=definition, found=found))
    return "\n\n".join(parts) + "\n"


def _outcome(prediction: dict[str, Any], larger: dict[str, Any]) -> str:
    lines = [
        "### The prediction and the measurement",
        "",
        f"The larger run has {larger['params']:,} parameters, {larger['params_body']:,} of them outside the "
        f"embeddings, and reads {larger['tokens']:,} tokens once: {prediction['extrapolation']:.3g} times the "
        "compute of the largest rung.",
        "",
        "| N counts | predicted | 95 % interval | measured | error | inside |",
        "|---|---|---|---|---|---|",
    ]
    for name, fit in prediction["fits"].items():
        row = fit["predictions"][0]
        low, high = row["interval"]
        chosen = " (chosen before)" if name == prediction["definition"] else ""
        inside = "yes" if low <= larger["loss"] <= high else "no"
        lines.append(
            f"| {NAMES[name]}{chosen} | {row['predicted']:.4f} | {low:.4f} to {high:.4f} | {larger['loss']:.4f} | "
            f"{row['predicted'] / larger['loss'] - 1:+.2%} | {inside} |"
        )
    lines += ["", f"Predicted at {prediction['made_at']}; training began at {larger['started_at']}."]
    return "\n".join(lines)


def _one_epoch(rows: list[dict[str, Any]], fit: dict[str, Any], *, definition: str) -> str:
    lines = [
        "### The rungs",
        "",
        "| layers x width | N, all | N, no embeddings | tokens | steps | seed | loss | law | loss/law | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["params_body"], row["tokens"], row["seed"])):
        if row["epochs"] > 1:
            continue
        law = _loss(fit, params=row[definition], tokens=row["tokens"])
        lines.append(
            f"| {row['layers']:.0f} x {row['width']:.0f} | {row['params']:,.0f} | {row['params_body']:,.0f} | "
            f"{row['tokens']:,.0f} | {row['steps']:.0f} | {row['seed']:.0f} | {row['loss']:.4f} | {law:.4f} | "
            f"{row['loss'] / law - 1:+.2%} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def _constants(fits: dict[str, Any]) -> str:
    lines = ["### The constants", ""]
    for name, fit in fits.items():
        residuals = np.abs([row["residual"] for row in fit["residuals"]])
        lines += [
            f"N counts {NAMES[name]}: objective {fit['objective']:.6f} over {fit['runs_used']} runs; residuals "
            f"of the log loss: {np.median(residuals):.4f} at the median, {residuals.max():.4f} the largest.",
            "",
            "| | value | bootstrap 95 % | profile 95 % |",
            "|---|---|---|---|",
        ]
        for key in COEFFICIENTS:
            drawn, profile = fit["intervals"][key], fit["profile_intervals"][key]
            lines.append(f"| {key} | {fit['coefficients'][key]:.4g} | {_range(drawn)} | {_range(profile)} |")
        lines += ["", *(f"- {warning}" for warning in fit["warnings"]), ""]
    return "\n".join(lines).rstrip()


def _repeated(rows: list[dict[str, Any]], fit: dict[str, Any], *, definition: str, found: dict[str, Any]) -> str:
    lines = [
        "### Repeated data",
        "",
        "| layers x width | unique tokens | epochs | loss | law, one epoch | law, all fresh | worth in fresh |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["epochs"] == 1:
            continue
        once = _loss(fit, params=row[definition], tokens=row["unique_tokens"])
        fresh = _loss(fit, params=row[definition], tokens=row["tokens"])
        worth = _tokens_for(fit, loss=row["loss"], params=row[definition])
        shown = "no number reaches it" if worth is None else f"{worth:,.0f} of {row['tokens']:,.0f}"
        lines.append(
            f"| {row['layers']:.0f} x {row['width']:.0f} | {row['unique_tokens']:,.0f} | {row['epochs']:.0f} | "
            f"{row['loss']:.4f} | {once:.4f} | {fresh:.4f} | {shown} |"
        )
    lines.append("")
    for name, label in (("r_star_tokens", "R* of tokens"), ("r_star_params", "R_N* of excess parameters")):
        value = found[name]
        text = "undefined" if value is None else f"{value:.4g}, 95 % {_range(found['intervals'][name])}"
        reason = found["reasons"].get(name)
        lines.append(f"- {label}: {text}" + (f"; not identified: {reason}" if reason else ""))
    return "\n".join(lines)


def picture(folder: Path) -> Figure:
    """The loss of every run over its tokens, the law of each size, the larger run's interval and its outcome."""
    rows, prediction, larger = _rows(folder), _read(folder / "prediction.json"), _read(folder / "larger.json")
    definition = prediction["definition"]
    fit = _read(folder / f"fit-{definition}.json")
    sizes = sorted({row[definition] for row in rows} | {larger[definition]})
    norm = LogNorm(sizes[0], sizes[-1])
    figure = Figure(figsize=(7.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    tokens = np.geomspace(min(row["tokens"] for row in rows) / 1.2, larger["tokens"] * 1.25, 100)
    for size in sizes:
        colour = SIZE_COLOURS(norm(size))
        dashes = (0, (4, 2.5)) if size == larger[definition] else "-"
        axes.plot(
            tokens,
            [_loss(fit, params=size, tokens=d) for d in tokens],
            color=colour,
            linewidth=1.6,
            linestyle=dashes,
            label=f"{format_count(size, digits=3)} parameters",
        )
    for row in rows:
        colour = SIZE_COLOURS(norm(row[definition]))
        face = "white" if row["epochs"] > 1 else colour
        axes.plot(row["tokens"], row["loss"], "o", color=colour, markerfacecolor=face, markersize=5.5)
    low, high = prediction["interval"]
    middle = prediction["predicted"]
    axes.errorbar(
        [larger["tokens"]], [middle], yerr=[[middle - low], [high - middle]], color=SOFT, capsize=5, linewidth=1.4
    )
    axes.plot(larger["tokens"], larger["loss"], "*", color=INK, markersize=13, label="the larger run, measured")
    axes.set(xscale="log", xlabel="tokens processed (hollow: repeated)", ylabel="held-out loss, nats a token")
    axes.xaxis.set_major_formatter(lambda value, _: format_count(value, digits=3))
    axes.legend(frameon=False, fontsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _loss(fit: dict[str, Any], *, params: float, tokens: float) -> float:
    E, A, B, alpha, beta = (fit["coefficients"][key] for key in COEFFICIENTS)
    return E + A / params**alpha + B / tokens**beta


def _tokens_for(fit: dict[str, Any], *, loss: float, params: float) -> float | None:
    """Fresh tokens at which the law gives this loss; None below its floor at this size."""
    E, A, B, alpha, beta = (fit["coefficients"][key] for key in COEFFICIENTS)
    rest = loss - E - A / params**alpha
    return (B / rest) ** (1 / beta) if rest > 0 else None


def _range(bounds: list[float | None]) -> str:
    low, high = ("open" if bound is None else f"{bound:.4g}" for bound in bounds)
    return f"{low} to {high}"


def _rows(folder: Path) -> list[dict[str, Any]]:
    """rungs.csv with its numbers as numbers."""
    with (folder / "rungs.csv").open(encoding="utf-8", newline="") as stream:
        return [
            {key: value if key in ("name", "role", "started_at") else float(value) for key, value in row.items()}
            for row in csv.DictReader(stream)
        ]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
