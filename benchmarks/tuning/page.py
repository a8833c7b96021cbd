"""What does docs/results/tuning.md say: the figures beside their targets, and each measurement?

Every model and method has a JSON file of its own beside the page, which is made of all of them anew; sections of
the page that are not made here stay.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.tuning.families import NAMES
from benchmarks.tuning.measure import Result
from benchmarks.tuning.setting import Setting
from benchmarks.tuning.table import METHODS, Comparison, Row, markdown

PAGE = Path("docs/results/tuning.md")
_MADE = "<!-- made by benchmarks/tuning -->"  # ends the headings of sections that are made here
# Issue 12: times TRL's best, of the matrix rate
RATIO, SHARE = 2.5, 0.6


@dataclass(frozen=True, slots=True)
class Entry:
    """One model and one method as measured, with when and where."""

    comparison: Comparison
    searched: tuple[tuple[str, float | None, float | None], ...]  # setting, tokens/s, peak GiB; None: it failed
    device: str
    command: str
    day: str
    packages: str

    @classmethod
    def of(cls, comparison: Comparison, searched: Sequence[Result], *, device: str, command: str) -> Entry:
        tried = tuple(
            (r.setting.label, None, None)
            if r.failed
            else (r.setting.label, round(r.tokens_per_second, 1), round((r.peak_bytes or 0) / 2**30, 2))
            for r in searched
        )
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "trl"))
        return cls(comparison, tried, device, command, str(date.today()), packages)

    @property
    def file_name(self) -> str:
        kind = "cpu" if self.device.endswith("threads") else "cuda"
        return f"{kind}-{self.comparison.model}-{self.comparison.method}.json"


def _read(path: Path) -> Entry:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    comparison = found.pop("comparison")
    rows = tuple(Row(**{**row, "setting": Setting(**row["setting"])}) for row in comparison.pop("rows"))
    rates = tuple(comparison.pop("matrix_rates"))
    searched = tuple(tuple(line) for line in found.pop("searched"))
    return Entry(Comparison(**comparison, rows=rows, matrix_rates=rates), searched=searched, **found)


def _gib(row: Row | None) -> str:
    return "-" if row is None or row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}"


def _summary(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"Targets: {RATIO} times TRL's fastest setting, {SHARE:.0%} of the rate of matrix products of the model's "
        "sizes, no more memory than TRL's fastest setting with the same optimizer state (for full tuning: weights "
        "and moments at float32).",
        "",
        "| Model | Method | tokens/s | TRL's fastest | ratio | of matrix rate | peak GiB | TRL's, equal state |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in entries:
        c = entry.comparison
        if c.best is None or c.best.tokens_per_second is None or c.ours.tokens_per_second is None or not c.ratio:
            continue
        lines.append(
            f"| {NAMES[c.model]} | {METHODS[c.method]} | {c.ours.tokens_per_second:,.0f} "
            f"| {c.best.tokens_per_second:,.0f} ({c.best.setting.label.removeprefix('TRL, ')}) | {c.ratio:.2f} "
            f"| {c.ours.share or 0:.0%} | {_gib(c.ours)} | {_gib(c.equal)} |"
        )
    return [*lines, ""]


def _section(entry: Entry) -> list[str]:
    lines = [markdown(entry.comparison), f"`{entry.command}`, {entry.day}, {entry.packages}.", ""]
    if entry.searched:
        lines += ["| TRL's settings, one timed step each | tokens/s | peak GiB |", "|---|---:|---:|"]
        for label, speed, peak in entry.searched:
            lines.append(f"| {label} | {'failed' if speed is None else f'{speed:,.0f}'} | {peak or '-'} |")
        lines.append("")
    return lines


def write(page: Path, entry: Entry) -> None:
    """Keep an entry beside the page and make the page anew."""
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / entry.file_name).write_text(json.dumps(dataclasses.asdict(entry), indent=2) + "\n", encoding="utf-8")
    remake(page)


def remake(page: Path) -> None:
    """Make the page of the entries beside it and of what others wrote into it."""
    entries = [_read(path) for path in sorted(page.with_suffix("").glob("*.json"))]
    order = [*NAMES]
    entries.sort(key=lambda e: (e.device, order.index(e.comparison.model), e.comparison.method != "lora"))
    title = "# Tuning: speed and memory\n\nMade by `make bench-tuning`; docs/decisions.md has what was tried.\n\n"
    old = page.read_text(encoding="utf-8") if page.exists() else title
    intro, *sections = re.split(r"(?m)^(?=## )", old)
    kept = [s.rstrip() + "\n" for s in sections if _MADE not in s.splitlines()[0]]
    made = []
    for device in dict.fromkeys(entry.device for entry in entries):
        own = [entry for entry in entries if entry.device == device]
        lines = [f"## {device} {_MADE}", "", *_summary(own)]
        for entry in own:
            lines += _section(entry)
        made.append("\n".join(lines).rstrip() + "\n")
    page.write_text(intro + "\n".join([*made, *kept]), encoding="utf-8")
