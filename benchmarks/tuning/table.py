"""How are the measurements of one model and one method summed up and shown?"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.tuning.families import NAMES, ModelName
from benchmarks.tuning.measure import Result
from benchmarks.tuning.setting import Method, Setting

METHODS = {"lora": "LoRA, rank 4 on q and v", "full": "full tuning"}


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: medians over its runs."""

    setting: Setting
    runs: int
    tokens_per_second: float | None  # None: it failed
    tokens_per_cpu_second: float | None
    peak_bytes: int | None
    share: float | None  # of the matrix rate
    cpu_share: float | None
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything about one model and one method."""

    model: ModelName
    method: Method
    rows: tuple[Row, ...]
    matrix_rate: float  # FLOPs a second, the median of its measurements
    matrix_rates: tuple[float, ...]
    cpu_rate: float  # the same by processor seconds
    steps: int
    batch: int
    tokens: int  # timed
    loss_difference: float | None  # largest relative difference of a step's loss, finetrial and TRL unpacked

    def _fastest(self, *, equal_state: bool) -> Row | None:
        rows = [
            row
            for row in self.rows
            if row.setting.trainer == "trl"
            and row.tokens_per_second is not None
            and (row.setting.equal_state or not equal_state)
        ]
        return max(rows, key=lambda row: row.tokens_per_second or 0, default=None)

    @property
    def ours(self) -> Row:
        return self.rows[0]

    @property
    def ratio(self) -> float | None:
        """finetrial's speed over that of TRL's fastest setting, whatever its optimizer keeps."""
        best = self._fastest(equal_state=False)
        if best is None or best.tokens_per_second is None or self.ours.tokens_per_second is None:
            return None
        return self.ours.tokens_per_second / best.tokens_per_second

    @property
    def best(self) -> Row | None:
        """TRL's fastest setting."""
        return self._fastest(equal_state=False)

    @property
    def equal(self) -> Row | None:
        """TRL's fastest setting with finetrial's optimizer state, whose memory counts."""
        return self._fastest(equal_state=True)


def compare(
    model: ModelName,
    method: Method,
    results: Sequence[Result],
    *,
    rates: Sequence[tuple[float, float]],
    steps: int,
    batch: int,
) -> Comparison:
    """Medians over the runs of every setting, in the order they were first met."""
    rate = statistics.median(wall for wall, _ in rates)
    cpu_rate = statistics.median(cpu for _, cpu in rates)
    settings = list(dict.fromkeys(result.setting for result in results))
    rows = []
    for setting in settings:
        runs = [r for r in results if r.setting == setting and r.failed is None]
        if not runs:
            failed = next(r.failed for r in results if r.setting == setting)
            rows.append(Row(setting, 0, None, None, None, None, None, failed))
            continue
        peaks = [r.peak_bytes for r in runs if r.peak_bytes is not None]
        rows.append(
            Row(
                setting,
                len(runs),
                statistics.median(r.tokens_per_second for r in runs),
                statistics.median(r.tokens_per_cpu_second for r in runs),
                round(statistics.median(peaks)) if peaks else None,
                statistics.median(r.flops_per_second for r in runs) / rate,
                statistics.median(r.flops_per_cpu_second for r in runs) / cpu_rate,
            )
        )
    ours = next(r for r in results if r.setting.trainer == "finetrial")
    return Comparison(
        model,
        method,
        tuple(rows),
        rate,
        tuple(wall for wall, _ in rates),
        cpu_rate,
        steps,
        batch,
        ours.tokens,
        _difference(ours, results),
    )


def _difference(ours: Result, results: Sequence[Result]) -> float | None:
    theirs = [r for r in results if r.setting.trainer == "trl" and not r.setting.packed and r.losses]
    if not theirs or len(theirs[0].losses) != len(ours.losses):
        return None
    return max(abs(a / b - 1) for a, b in zip(ours.losses, theirs[0].losses, strict=True))


def _cells(comparison: Comparison) -> list[tuple[str, ...]]:
    ours = comparison.rows[0]
    lines = [("", "tokens/s", "ratio", "CPU ratio", "peak GiB", "of matrix rate", "runs")]
    for row in comparison.rows:
        if row.tokens_per_second is None:
            lines.append((row.setting.label, "-", "-", "-", "-", row.failed or "", "0"))
            continue
        assert ours.tokens_per_second is not None and ours.tokens_per_cpu_second is not None
        assert row.tokens_per_cpu_second is not None
        lines.append(
            (
                row.setting.label,
                f"{row.tokens_per_second:,.0f}",
                f"{ours.tokens_per_second / row.tokens_per_second:.2f}",
                f"{ours.tokens_per_cpu_second / row.tokens_per_cpu_second:.2f}",
                "-" if row.peak_bytes is None else f"{row.peak_bytes / 2**30:.2f}",
                f"{row.share:.0%}",
                str(row.runs),
            )
        )
    return lines


def heading(comparison: Comparison) -> str:
    return f"{NAMES[comparison.model]}, {METHODS[comparison.method]}"


def _notes(comparison: Comparison) -> str:
    rates = comparison.matrix_rates
    steps = "1 timed step" if comparison.steps == 1 else f"{comparison.steps} timed steps"
    said = (
        f"{steps} of {comparison.batch} abstracts, {comparison.tokens:,} tokens; medians. "
        f"bfloat16 matrix products at the model's sizes: {comparison.matrix_rate / 1e9:,.0f} GFLOP/s "
        f"({min(rates) / 1e9:,.0f} to {max(rates) / 1e9:,.0f} in {len(rates)} measurements); by processor seconds "
        f"finetrial reaches {comparison.rows[0].cpu_share or 0:.0%} of it."
    )
    if comparison.loss_difference is not None:
        said += f" Losses of all steps differ from TRL's by at most {comparison.loss_difference:.2%}."
    return said


def terminal(comparison: Comparison) -> str:
    """At most 80 columns."""
    cells = _cells(comparison)
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [heading(comparison)]
    for line in cells:
        lines.append(
            "  ".join(
                c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
            )
        )
    return "\n".join([*(line.rstrip() for line in lines), _wrapped(_notes(comparison))])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 80)


def markdown(comparison: Comparison) -> str:
    """A section of docs/results/tuning.md."""
    first, *rest = _cells(comparison)
    lines = [f"### {heading(comparison)}", "", "| " + " | ".join(first) + " |", "|---" + "|---:" * 6 + "|"]
    lines += ["| " + " | ".join(line) + " |" for line in rest]
    return "\n".join([*lines, "", _notes(comparison), ""])
