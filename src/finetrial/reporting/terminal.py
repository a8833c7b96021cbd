"""Write the answer and the score table for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from finetrial.evidence.verdict_warnings import HEADING
from finetrial.metrics.all import metric_name
from finetrial.reporting import numbers
from finetrial.reporting.text import visible

WIDTH = 80
_GAP = "  "


def _name(text: str) -> str:
    return text if len(text) <= 20 else text[:19] + "…"


def _columns(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The titles and, per arm, the cells: name, each metric with its difference to the base, cost."""
    metrics: Mapping[str, Mapping[str, Any]] = results["metrics"]
    arms = {name: arm for name, arm in results["arms"].items() if arm["samples"]}
    trained = any("measured" in arm and arm["measured"]["trained_parameters"] for arm in arms.values())
    titles = ["arm"]
    for metric in metrics:
        titles += [metric_name(metric), ""]
    titles += ["cut"] + ["trained", "stored", "tuning"] * trained
    rows = []
    for name, arm in arms.items():
        row = [_name(name)]
        for cells in metrics.values():
            cell = cells[name]
            to_base = "" if cell["to_base"] is None else numbers.difference(cell["to_base"])
            row += [numbers.score(cell["mean"]) + ("*" if cell["best"] else " "), to_base]
        ended = sum(arm["endings"].values())
        row.append(f"{100 * arm['endings'].get('length', 0) / ended:.0f}%" if ended else numbers.DASH)
        if trained:
            measured = arm.get("measured") or {}
            tuned = bool(measured.get("steps"))
            row.append(numbers.share(arm["trained_share"]).replace(" ", "") if tuned else numbers.DASH)
            row.append(numbers.size(measured.get("stored_bytes")) if tuned else numbers.DASH)
            row.append(numbers.duration(measured.get("tune_seconds")) if tuned else numbers.DASH)
        rows.append(row)
    return titles, rows


def _set(titles: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    lines = []
    for row in (titles, *rows):
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def _without_differences(
    titles: list[str], rows: list[list[str]], *, keep: int
) -> tuple[list[str], list[list[str]]]:
    """The table without the difference columns after the first `keep`; they have no title."""
    kept: list[int] = []
    differences = 0
    for index, title in enumerate(titles):
        differences += not title
        if title or differences <= keep:
            kept.append(index)
    return [titles[i] for i in kept], [[row[i] for i in kept] for row in rows]


def warning_lines(texts: Sequence[str]) -> list[str]:
    """What could overturn the verdict, to stand before it."""
    if not texts:
        return []
    lines = [f"{HEADING}:"]
    for text in texts:
        lines += textwrap.wrap(visible(text), WIDTH, initial_indent="  - ", subsequent_indent="    ")
    return [*lines, ""]


def paid_lines(costs: Mapping[str, Any] | None) -> list[str]:
    """After how many requests each tuned arm has paid for itself; nothing where no arm is prompted."""
    found: dict[str, list[str]] = {}
    for row in (costs or {}).get("break_even", ()):
        if row["never"] or row["requests"] is not None:
            when = "never" if row["never"] else f"after {row['requests']:,} requests"
            found.setdefault(row["against"], []).append(f"{_name(row['arm'])} {when}")
    text = " ".join(f"Pays for itself against {_name(arm)}: {', '.join(said)}." for arm, said in found.items())
    return textwrap.wrap(text, WIDTH)


def score_table(results: Mapping[str, Any]) -> str:
    """The answer and the score table from what results.json holds, within 80 columns where the names allow.

    A star marks the best mean, signed numbers are differences to the base; the later ones are left out first where
    the table would be too wide.
    """
    lines = warning_lines([row["text"] for row in results.get("verdict_warnings", ())])
    lines += textwrap.wrap(visible(results["answer"]), WIDTH)
    if results.get("recommendation"):
        lines += textwrap.wrap(visible(results["recommendation"]["text"]), WIDTH)
    if not results["metrics"]:
        return "\n".join(lines)
    titles, rows = _columns(results)
    table = _set(titles, rows)
    for keep in range(len(results["metrics"]) - 1, -1, -1):
        if max(map(len, table)) <= WIDTH:
            break
        table = _set(*_without_differences(titles, rows, keep=keep))
    lines += ["", *table, ""]
    note = "* best mean."
    if any(row[2] for row in rows):
        note += f" Signed: difference to {results['base']}."
    note += " cut: share of samples that reached the limit."
    return "\n".join([*lines, *textwrap.wrap(note, WIDTH), *paid_lines(results.get("costs"))])
