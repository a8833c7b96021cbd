"""Lay what was planned beside what was measured: signed errors, constants of process memory, the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footprint.setting import Setting
from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.memory_plan import CPU_HEAP_SHARE, CPU_PROCESS_BYTES
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.structure import Shape
from finetrial.footprint.training_memory import Training, TrainingMemory, training_memory

GIB, MIB = 1 << 30, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What child.py prints."""

    held_bytes: int  # before a step
    tensor_bytes: int
    process_bytes: int
    step_seconds: float
    packed: bool
    fused: bool
    fast_paths: list[str]
    trained_parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting, planned and measured."""

    setting: Setting
    planned: TrainingMemory
    measured: Measured

    @property
    def tensor_error(self) -> float:
        """Signed, relative: above zero where the plan is too high."""
        return self.planned.total_bytes / self.measured.tensor_bytes - 1

    def process_bytes(self, constants: tuple[float, float]) -> float:
        base, share = constants
        return base + self.planned.total_bytes * (1 + share)

    def process_error(self, constants: tuple[float, float]) -> float:
        return self.process_bytes(constants) / self.measured.process_bytes - 1


CONSTANTS = (float(CPU_PROCESS_BYTES), CPU_HEAP_SHARE)


def shape_of(setting: Setting) -> Shape:
    """By the configuration that the model is made from, or the one in its folder."""
    if setting.width:
        return shape_from_config(setting.config())
    return shape_from_config(json.loads((Path(setting.model) / "config.json").read_text(encoding="utf-8")))


def plan(setting: Setting) -> TrainingMemory:
    """From the shape alone."""
    method = Full() if setting.rank is None else Lora(rank=setting.rank, targets=setting.targets)
    training = Training(
        method=method,
        length=setting.length,
        rows=setting.rows,
        loss_share=setting.loss_share,
        dtype=setting.dtype,
        checkpointing=setting.checkpointing,
        device="cpu",
    )
    return training_memory(shape_of(setting), training)


def fit(rows: Sequence[Row]) -> tuple[float, float]:
    """The process's bytes as a constant and a share of the planned tensors: least squares of relative errors."""
    # minimise sum((base + t (1 + share) - p)^2 / p^2): linear in base and share
    ones = [1 / r.measured.process_bytes for r in rows]
    tensors = [r.planned.total_bytes / r.measured.process_bytes for r in rows]
    rest = [1 - t for t in tensors]
    aa, ab, bb = (
        sum(x * y for x, y in zip(p, q, strict=True))
        for p, q in ((ones, ones), (ones, tensors), (tensors, tensors))
    )
    ay, by = (sum(x * y for x, y in zip(p, rest, strict=True)) for p in (ones, tensors))
    det = aa * bb - ab * ab
    return (bb * ay - ab * by) / det, (aa * by - ab * ay) / det


def spread(errors: Sequence[float]) -> str:
    """Median and worst of the absolute errors, and the lowest signed one."""
    absolute = [abs(e) for e in errors]
    return f"median {statistics.median(absolute):.2%}, worst {max(absolute):.2%}, lowest {min(errors):+.2%}"


def table(rows: Sequence[Row], *, constants: tuple[float, float]) -> str:
    """Markdown, one row a setting."""
    lines = [
        "| model | method | micro-batch | precision | tensors planned | measured | error | process planned "
        "| measured | error | at the peak |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        s, m = row.setting, row.measured
        lines.append(
            f"| {s.name} | {s.method} | {s.row} | {s.dtype} | {row.planned.total_bytes / MIB:,.1f} "
            f"| {m.tensor_bytes / MIB:,.1f} | {row.tensor_error:+.2%} | {row.process_bytes(constants) / MIB:,.0f} "
            f"| {m.process_bytes / MIB:,.0f} | {row.process_error(constants):+.1%} | {row.planned.peak.moment} |"
        )
    return "\n".join(lines)
