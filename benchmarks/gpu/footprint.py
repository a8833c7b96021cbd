"""The part `footprint`: memory and step time on a card, planned from the shape and measured, in one table.

Every setting is made at random weights on the card, in a process of its own; one that fails leaves a line that says
so. The figures go to gpu-footprint.json beside the page, too, for whoever looks into an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.footprint.compare import MIB, Measured, Row, card_table, plan, spread
from benchmarks.footprint.matrix import on_a_card, rehearsed
from benchmarks.footprint.setting import Setting
from benchmarks.footprint.steps import (
    Step,
    config_of,
    facts,
    made,
    planned_step_seconds,
    steps_of,
    take_step,
    task_of,
    timed_steps,
)
from benchmarks.gpu.parts import Clock, Setup
from finetrial.footprint.anatomy import FastPaths
from finetrial.training.arm_setup import TrainingSetup

TIMED_STEPS, CALIBRATION_SECONDS = 6, 2.0
_MOST_SECONDS = 30.0  # of a setting
_EXPLAINED = 3  # settings whose largest allocations are listed
_SHOWN = 30


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the process of one setting brings back."""

    measured: dict[str, Any]
    at_peak: tuple[tuple[str, float, int], ...]  # who made it, MiB, how many: the largest that stand at the peak


def measure(setting: Setting, *, device: torch.device, explained: bool) -> Found:
    """Bytes and seconds of some steps, and of a step as calibration plans it."""
    cuda, began = device.type == "cuda", time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        steps = steps_of(setting, count=TIMED_STEPS, vocabulary=config_of(setting).vocab_size)
        ready = made(setting, task_of(setting, steps, base="", folder=Path(place)), device=device)
        found: dict[str, Any] = facts(ready)
        if cuda:
            found["held_bytes"] = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)  # making the model at float32 may have held more
        found["step_seconds"] = timed_steps(ready, steps)
        if cuda:
            found["tensor_bytes"] = torch.cuda.max_memory_allocated(device)
            found["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        at_peak: tuple[tuple[str, float, int], ...] = ()
        if explained and cuda:
            with contextlib.suppress(Exception):  # private calls of torch's: what was measured stays without them
                at_peak = _at_peak(ready, steps[0])
        del ready
    if cuda:
        torch.cuda.empty_cache()
    with contextlib.suppress(Exception):  # what was measured stays without a planned time
        calibrating = time.perf_counter()
        found["planned_step_seconds"] = planned_step_seconds(setting, device=device, seconds=CALIBRATION_SECONDS)
        found["calibration_seconds"] = time.perf_counter() - calibrating
    print(f"{setting.words}: {time.perf_counter() - began:.1f} s")
    return Found(found, at_peak)


def _at_peak(ready: TrainingSetup, step: Step) -> tuple[tuple[str, float, int], ...]:
    """The allocations that stand at a step's peak, by the innermost lines of Python that asked for them."""
    memory: Any = torch.cuda.memory
    memory._record_memory_history(max_entries=200_000, stacks="python")
    take_step(ready, step)
    trace = memory._snapshot()["device_traces"][torch.cuda.current_device()]
    memory._record_memory_history(enabled=None)
    alive: dict[int, tuple[int, str]] = {}
    live = peak = 0
    best: dict[int, tuple[int, str]] = {}
    for event in trace:
        if event["action"] == "alloc":
            frames = [f"{Path(f['filename']).name}:{f['line']} {f['name']}" for f in event.get("frames", ())[:3]]
            alive[event["addr"]] = (event["size"], " < ".join(frames) or "autograd")
            live += event["size"]
            if live > peak:
                peak, best = live, dict(alive)
        elif event["action"] == "free_completed" and event["addr"] in alive:
            live -= alive.pop(event["addr"])[0]
    sizes, counts = Counter[str](), Counter[str]()
    for size, name in best.values():
        sizes[name] += size
        counts[name] += 1
    return tuple((name, round(size / MIB, 2), counts[name]) for name, size in sizes.most_common(_SHOWN))


def footprint(setup: Setup, clock: Clock) -> None:
    """Allocated, reserved and step time of a dozen settings."""
    settings = rehearsed() if setup.rehearsed else on_a_card()
    hopper = "H100" in setup.card or "H200" in setup.card
    rows: list[Row] = []
    failures: list[str] = []
    record: list[dict[str, Any]] = []
    for place, setting in enumerate(settings):
        limit = Clock(min(_MOST_SECONDS, clock.left))
        explained = place < _EXPLAINED
        found, failed = limit.run(
            setting.words, lambda s=setting, e=explained: measure(s, device=setup.device, explained=e), least=6.0
        )
        entry: dict[str, Any] = {"setting": dataclasses.asdict(setting)}
        if failed is not None:
            failures.append(f"{setting.words}: {failed}")
            record.append({**entry, "failed": failed})
            continue
        measured = Measured(**found["measured"])
        planned = plan(setting, device="cuda", hopper=hopper, paths=lambda p, m=measured: _taken(p, m))
        row = Row(setting=setting, planned=planned, measured=measured)
        rows.append(row)
        record.append(
            {
                **entry,
                **found,
                "planned_bytes": planned.total_bytes,
                "planned_reserved_bytes": planned.reserved_bytes,
                "planned_moment": planned.peak.moment,
                "planned_parts": planned.parts,
            }
        )
    setup.page.add(_page(rows, failures, card=setup.card))
    if setup.page.path is not None:
        file = setup.page.path.with_name("gpu-footprint.json")
        file.write_text(json.dumps({"card": setup.card, "settings": record}, indent=1) + "\n", encoding="utf-8")


def _taken(paths: FastPaths, measured: Measured) -> FastPaths:
    """What the plan counts on, less what this machine did not take: liger-kernel may be missing."""
    on = set(measured.fast_paths)
    liger = "RMS norm" in on or "gated activation" in on or "rotary grouped attention" in on
    if liger:
        return paths
    return dataclasses.replace(paths, rms_norm=False, rotary=False, gate=False, remakes=False)


def _page(rows: Sequence[Row], failures: Sequence[str], *, card: str) -> str:
    lines = [
        f"### Footprint: planned memory and time beside measured, {card}",
        "",
        "Planned is what `finetrial footprint train --device cuda` computes from the shape alone. Allocated and",
        f"reserved: the most that torch's allocator had handed out and asked for over {TIMED_STEPS} steps of two",
        "micro-batches. Step: planned by rates measured within some seconds on a few layers of the model's own",
        f"width, beside the median of {TIMED_STEPS - 2} whole steps. Above zero: planned too high.",
        "",
        f"- allocated: {spread([r.tensor_error for r in rows])} (aim: median 3 %)",
        f"- reserved: {spread([r.reserved_error for r in rows])} (aim: median 8 %)",
        f"- step time: {spread([r.time_error for r in rows])} (aim: median 10 %)",
        "",
        card_table(rows) if rows else "Nothing was measured.",
    ]
    if failures:
        lines += ["", *(f"- not measured: {one}" for one in failures)]
    normed = [row for row in rows if row.setting.model in ("llama", "qwen2", "gemma")]
    without = sorted({row.setting.words for row in normed if "RMS norm" not in row.measured.fast_paths})
    if without:
        lines += ["", f"- without liger-kernel's RMS norm: {'; '.join(without)}."]
    return "\n".join(lines)
