"""Write docs/results/footprint.md: what was planned, what was measured, and every signed error."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version

from benchmarks.footprint.compare import CONSTANTS, MIB, Measured, Row, cell, spread, table
from benchmarks.footprint.setting import Setting
from finetrial.planning.machine import cpu_name


def _device() -> str:
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    return f"{cpu_name()}, {threads} threads"


_TITLE = "# Footprint: planned memory and time beside measured"


def put_between_markers(page: str | None, *, written: str, name: str = "benchmark") -> str:
    """The page with what the benchmark writes in its place; the rest of it is written by hand and stays.

    Raises ValueError for a page without the markers: nothing that somebody wrote is overwritten.
    """
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    marked = f"{first}\n{written.strip()}\n{last}"
    if page is None:
        return f"{_TITLE}\n\n{marked}\n"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page has no {first} and {last} around what the benchmark writes")
    return before + marked + after


def document(rows: Sequence[Row], fits: Sequence[Row], *, of: int, real: bool) -> str:
    """What the benchmark writes of the page; `of` is how many settings there are."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    base, share, head, varied = CONSTANTS
    option = " --real FOLDER" if real else ""
    timed, steps = sum(r.time_error is not None for r in rows), sum(not r.setting.varied for r in rows)
    missing = "" if len(rows) == of else f" {of - len(rows)} of {of} are not measured."
    missing += "" if timed == steps else f" {steps - timed} of {steps} steps are not timed."
    lines = [
        f"{date.today()}, {_device()}, {packages}.",
        "",
        f"    python -m benchmarks.footprint{option}                        # memory",
        f"    python -m benchmarks.footprint{option} --traced               # the traced tier's tensors",
        f"    python -m benchmarks.footprint{option} --times --for 170      # steps, nothing else running",
        f"    python -m benchmarks.footprint{option} --write                # this page",
        "",
        "Planned is what `finetrial footprint train --device cpu` computes from the shape alone, without torch.",
        "Tensors: the most bytes that torch's CPU allocator had handed out during a step (two micro-batches, after",
        "three steps), with every tensor alive before it. Process: the kernel's high-water mark over loading and",
        "three steps, 24 where lengths vary, in a fresh process. Step: two micro-batches and the optimizer's step,",
        "planned by rates that were measured just before within about eight seconds, beside the median of three.",
        "Traced: the tensors of the model's own class and step under fake tensors (`--traced`), against the same",
        "measured ones. An error above zero is a plan that was too high.",
        "",
        f"Over {len(rows)} configurations, none of which anything was fitted on:{missing}",
        "",
        f"- tensor bytes: {spread([r.tensor_error for r in rows])} (aim: median 5 %, worst 12 %)",
        f"- the same, traced: {spread([r.traced_error for r in rows])} (aim: median 3 %, worst 8 %)",
        f"- process memory: {spread([r.process_error(CONSTANTS) for r in rows])} (aim: median 8 %, never more than "
        "10 % under)",
        f"- step time: {spread([r.time_error for r in rows])} (aim: median 10 %, worst 25 %)",
        "",
        f"The process is planned as {base / MIB:.0f} MiB, the tensors, {share:.3f} times those of them that come",
        f"and go within a step, {head:.3f} times the matrix that makes logits, and {varied / MIB:.0f} MiB where",
        f"lengths vary; the four numbers come from {len(fits)} other configurations (below). Tensor bytes have no",
        "fitted number.",
        "",
        table(rows, constants=CONSTANTS),
        "",
        "## What the process constants were fitted on",
        "",
        table(fits, constants=CONSTANTS),
        "",
    ]
    return "\n".join(lines)


def steps_document(found: Sequence[tuple[Setting, Measured]], *, of: int, real: bool) -> str:
    """The steps of one precision: what was planned after calibration, and what they took."""
    option = " --real FOLDER" if real else ""
    precision = " and ".join(sorted({setting.dtype for setting, _ in found}))
    errors = [measured.time_error for _, measured in found]
    calibrated = [m.calibration_seconds for _, m in found if m.calibration_seconds is not None]
    untimed = "" if len(found) == of else f" {of - len(found)} of {of} are not timed."
    lines = [
        f"{date.today()}, {_device()}, torch {version('torch')}, {precision}.",
        "",
        f"    python -m benchmarks.footprint{option} --precision {precision} --times",
        f"    python -m benchmarks.footprint{option} --precision {precision} --times --write",
        "",
        f"Step time: {spread(errors)} (aim: median 10 %, worst 25 %).{untimed}",
        f"Calibration took {statistics.median(calibrated):.1f} s at the median, {max(calibrated):.1f} s at most.",
        "",
        "| model | method | micro-batch | step planned, s | measured | error |",
        "|---|---|---|---:|---:|---:|",
    ]
    for setting, m in found:
        assert m.planned_step_seconds is not None and m.step_seconds is not None
        lines.append(
            f"| {setting.name} | {setting.method} | {setting.row} | {m.planned_step_seconds:.2f} "
            f"| {m.step_seconds:.2f} | {cell(m.time_error)} |"
        )
    return "\n".join(lines)
