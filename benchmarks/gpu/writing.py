"""docs/results/gpu.md: every part's section is appended when it is measured; what is cut keeps what it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.result import Result, Shares
from benchmarks.gpu.shapes import METHODS, TITLES, Ceilings

INTRO = """# On a card

Made by `make gpu`, which appends; `make gpu PART=tune-1b` measures one part. docs/decisions.md says what was tried.
"""


class Page:
    """The page, and the lines on the terminal."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def path(self) -> Path | None:
        """Where it is written; None: nowhere."""
        return self._path

    def add(self, text: str) -> None:
        """Append a paragraph or a table, at once."""
        print(text + "\n", flush=True)
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._path.exists():
            self._path.write_text(INTRO + "\n", encoding="utf-8")
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(text + "\n\n")

    def keep(self, name: str, values: Any) -> None:
        """Write values as JSON beside the page."""
        if self._path is not None:
            text = json.dumps(values, indent=1) + "\n"
            self._path.with_name(name).write_text(text, encoding="utf-8")


def heading(*, card: str, versions: str, day: str, command: str) -> str:
    """One run's heading."""
    return f"## {card}, {day}\n\n`{command}`; {versions}."


def comparison(
    shape: str, method: str, results: Sequence[Result], *, ceilings: Ceilings | None, kind: str, batch: str
) -> str:
    """One shape and method: finetrial first, its ratios to the others."""
    ours = next((r for r in results if r.label.startswith("finetrial") and r.failed is None), None)
    lines = [
        f"### {TITLES[shape]}, {METHODS[method]}",
        "",
        "| | tokens/s | finetrial is | peak GiB | TFLOP/s | of matrix rate | first step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        if r.failed is not None:
            lines.append(f"| {r.label} | {r.failed} | | | | | |")
            continue
        ratio = "" if ours is None else f"{ours.tokens_per_second / r.tokens_per_second:.2f} x"
        share = "" if ceilings is None else f"{r.flops_per_second / ceilings.flops_per_second:.0%}"
        lines.append(
            f"| {r.label} | {r.tokens_per_second:,.0f} | {ratio} | {r.peak_bytes / 2**30:.1f} | "
            f"{r.flops_per_second / 1e12:,.0f} | {share} | {r.first_step_seconds:.1f} s |"
        )
    said = [f"{kind}, {batch}."]
    if ceilings is not None:
        said.append(
            f"bfloat16 products of the model's sizes: {ceilings.flops_per_second / 1e12:,.0f} TFLOP/s; copies: "
            f"{ceilings.bytes_per_second / 1e12:.2f} TB/s."
        )
    for r in results:
        if r.shares is not None:
            said.append(f"{r.label}, a step: {profile_line(r.shares)}.")
        if r.late_allocations is not None:
            said.append(f"{r.label}: {r.late_allocations} device allocations after the third step.")
        if r.notes:
            said.append(f"{r.label}: {'; '.join(r.notes)}.")
    return "\n".join([*lines, "", *(f"- {line}" for line in said)])


def profile_line(shares: Shares) -> str:
    """The four shares of a step."""
    return (
        f"products {shares.products:.0%}, attention {shares.attention:.0%}, element-wise {shares.elementwise:.0%}, "
        f"idle {shares.idle:.1%}; {shares.launches:,.0f} launches"
    )


class Memory:
    """What was fastest on a card, so that a later run need not search."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path is not None and path.exists() else "{}"
        self._known: dict[str, str] = json.loads(text)

    def best(self, card: str, shape: str, method: str) -> str | None:
        return self._known.get(f"{card} / {shape} / {method}")

    def remember(self, card: str, shape: str, method: str, label: str) -> None:
        self._known[f"{card} / {shape} / {method}"] = label
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
