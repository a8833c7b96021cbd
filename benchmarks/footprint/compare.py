"""Lay what was planned beside what was measured: signed errors, constants of process memory, the table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.footprint.setting import Setting
from finetrial.footprint.adapters import Full
from finetrial.footprint.anatomy import FastPaths
from finetrial.footprint.beside import Lora
from finetrial.footprint.inference_memory import resting_bytes
from finetrial.footprint.memory_plan import (
    CPU_HEAD_SHARE,
    CPU_HEAP_SHARE,
    CPU_PROCESS_BYTES,
    CPU_VARIED_BYTES,
    head_bytes,
)
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.structure import Shape
from finetrial.footprint.training_memory import Training, TrainingMemory, training_memory

GIB, MIB = 1 << 30, 1 << 20
Constants = tuple[float, float, float, float]
CONSTANTS: Constants = (float(CPU_PROCESS_BYTES), CPU_HEAP_SHARE, CPU_HEAD_SHARE, float(CPU_VARIED_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of one setting; None where it was not."""

    packed: bool = False
    fast_paths: list[str] = field(default_factory=list)
    trained_parameters: int = 0
    tensor_bytes: int | None = None  # the step's peak; on a card what its allocator had handed out
    held_bytes: int | None = None  # before a step
    process_bytes: int | None = None
    libraries_bytes: int | None = None
    loaded_bytes: int | None = None
    reserved_bytes: int | None = None  # by a card's allocator
    step_seconds: float | None = None
    planned_step_seconds: float | None = None  # by rates that were measured before
    calibration_seconds: float | None = None
    traced_bytes: int | None = None  # of the model's own step, followed without numbers

    @property
    def time_error(self) -> float | None:
        """Signed, relative: above zero where the step was planned to take longer."""
        if self.planned_step_seconds is None or not self.step_seconds:
            return None
        return self.planned_step_seconds / self.step_seconds - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting, planned and measured."""

    setting: Setting
    planned: TrainingMemory
    measured: Measured

    def _error(self, planned: float | None, measured: float | None) -> float | None:
        """Signed, relative: above zero where the plan is too high."""
        return None if planned is None or not measured else planned / measured - 1

    @property
    def tensor_error(self) -> float | None:
        return self._error(self.planned.total_bytes, self.measured.tensor_bytes)

    @property
    def traced_error(self) -> float | None:
        return self._error(self.measured.traced_bytes, self.measured.tensor_bytes)

    @property
    def reserved_error(self) -> float | None:
        return self._error(self.planned.reserved_bytes, self.measured.reserved_bytes)

    @property
    def time_error(self) -> float | None:
        return self.measured.time_error

    @property
    def comes_and_goes_bytes(self) -> int:
        """Of the planned tensors, those that do not stand through the step."""
        return self.planned.total_bytes - sum(resting_bytes(self.planned).values())

    @property
    def head_bytes(self) -> int:
        return head_bytes(shape_of(self.setting), dtype_bytes=self.planned.training.dtype_bytes)

    def process_bytes(self, constants: Constants) -> float:
        base, share, head, varied = constants
        beside = share * self.comes_and_goes_bytes + head * self.head_bytes + varied * self.setting.varied
        return base + self.planned.total_bytes + beside

    def process_error(self, constants: Constants) -> float | None:
        return self._error(self.process_bytes(constants), self.measured.process_bytes)


def shape_of(setting: Setting) -> Shape:
    """By the configuration that the model is made from, or the one in its folder."""
    if setting.width:
        return shape_from_config(setting.config())
    return shape_from_config(json.loads((Path(setting.model) / "config.json").read_text(encoding="utf-8")))


def plan(
    setting: Setting,
    *,
    device: Literal["cpu", "cuda"] = "cpu",
    hopper: bool = False,
    paths: Callable[[FastPaths], FastPaths] | None = None,
) -> TrainingMemory:
    """From the shape alone. `paths` changes the fast paths that the plan counts on."""
    method = Full() if setting.rank is None else Lora(rank=setting.rank, targets=setting.targets)
    training = Training(
        method=method,
        length=setting.length,
        rows=setting.rows,
        loss_share=setting.loss_share,
        dtype=setting.dtype,
        checkpointing=setting.checkpointing,
        device=device,
        hopper=hopper,
    )
    if paths is not None:
        training = replace(training, paths=paths(training.fast))
    return training_memory(shape_of(setting), training)


def fit(rows: Sequence[Row]) -> Constants:
    """The process beside its tensors: a constant, shares of what comes and goes and of the head's matrix, and what
    many lengths add. Least squares of relative errors.
    """
    known = [r for r in rows if r.measured.process_bytes]
    # minimise sum(((base + share c + head h + varied v + t - p) / p)^2): linear in the four
    sizes = np.array([r.measured.process_bytes for r in known], dtype=float)
    sides = np.array([[1.0, r.comes_and_goes_bytes, r.head_bytes, r.setting.varied] for r in known])
    rest = 1 - np.array([r.planned.total_bytes for r in known]) / sizes
    base, share, head, varied = (float(v) for v in np.linalg.lstsq(sides / sizes[:, None], rest, rcond=None)[0])
    return base, share, head, varied


def spread(errors: Sequence[float | None]) -> str:
    """Median and worst of the absolute errors, and the lowest signed one; of those that were measured."""
    known = [e for e in errors if e is not None]
    if not known:
        return "not measured"
    absolute = [abs(e) for e in known]
    return (
        f"median {statistics.median(absolute):.2%}, worst {max(absolute):.2%}, lowest {min(known):+.2%}, "
        f"highest {max(known):+.2%}, over {len(known)}"
    )


def cell(error: float | None, digits: int = 1) -> str:
    return "" if error is None else f"{error:+.{digits}%}"


def table(rows: Sequence[Row], *, constants: Constants) -> str:
    """Markdown, one row a setting measured on a CPU."""
    lines = [
        "| model | method | micro-batch | precision | tensors planned, MiB | measured | error | traced "
        "| process planned, MiB | measured | error | step planned, s | measured | error | at the peak |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        s, m = row.setting, row.measured
        tensors = "" if m.tensor_bytes is None else f"{m.tensor_bytes / MIB:,.1f}"
        process = "" if m.process_bytes is None else f"{m.process_bytes / MIB:,.0f}"
        times = "| | "
        if m.step_seconds is not None and m.planned_step_seconds is not None:
            times = f"| {m.planned_step_seconds:.2f} | {m.step_seconds:.2f} "
        lines.append(
            f"| {s.name} | {s.method} | {s.row} | {s.dtype} | {row.planned.total_bytes / MIB:,.1f} "
            f"| {tensors} | {cell(row.tensor_error, 2)} | {cell(row.traced_error, 2)} "
            f"| {row.process_bytes(constants) / MIB:,.0f} | {process} | {cell(row.process_error(constants))} "
            f"{times}| {cell(row.time_error)} | {row.planned.peak.moment} |"
        )
    return "\n".join(lines)


def card_table(rows: Sequence[Row]) -> str:
    """Markdown, one row a setting measured on a card."""
    lines = [
        "| model | method | micro-batch | precision | allocated planned, MiB | measured | error "
        "| reserved planned, MiB | measured | error | step planned, ms | measured | error |",
        "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        s, m = row.setting, row.measured

        def mib(value: int | None) -> str:
            return "" if value is None else f"{value / MIB:,.0f}"

        def ms(value: float | None) -> str:
            return "" if value is None else f"{1000 * value:,.0f}"

        lines.append(
            f"| {s.name} | {s.method} | {s.row} | {s.dtype} "
            f"| {mib(row.planned.total_bytes)} | {mib(m.tensor_bytes)} | {cell(row.tensor_error)} "
            f"| {mib(row.planned.reserved_bytes)} | {mib(m.reserved_bytes)} "
            f"| {cell(row.reserved_error)} | {ms(m.planned_step_seconds)} | {ms(m.step_seconds)} "
            f"| {cell(row.time_error)} |"
        )
    return "\n".join(lines)
