"""Hold the plan of a model that processes share out against what each process holds, and time its steps.

    python -m benchmarks.sharding [--large] [--only TEXT] [--json FILE]

Each setting is trained whole in one process and in two, on a CPU with gloo: one step to warm up, two that are
timed, one whose tensors are followed. Tensor bytes are what torch's own CPU allocator hands out during that step,
on top of every tensor that is alive before it (benchmarks/footprint/child.py); the process's peak is the kernel's,
with loading. With --json the rows go to a file; the table goes to standard output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.footprint.child import make_base, tensor_bytes
from benchmarks.footprint.setting import Setting
from benchmarks.footprint.steps import config_of, steps_of, take_step, task_of
from finetrial.footprint.adapters import Full
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.sharded_memory import sharded_memory
from finetrial.footprint.tape_values import Kind
from finetrial.footprint.training_memory import STEP, Training, TrainingMemory, training_memory
from finetrial.models.device import DTYPES
from finetrial.training.arm_setup import prepare, set_mode
from finetrial.training.meter import Meter
from finetrial.training.process import kept_heap
from finetrial.training.ranks import joined

_WARM, _TIMED = 1, 2
_STARTER = {"model": "gpt2", "width": 192, "layers": 5, "heads": 6, "kv_heads": 6, "inner": 768}
_SMALL = {"model": "llama", "width": 256, "layers": 6, "heads": 8, "kv_heads": 4, "inner": 704}
_TIED = {"model": "qwen2", "width": 256, "layers": 4, "heads": 8, "kv_heads": 2, "inner": 1024}
SMALL = (
    Setting(**_STARTER, vocabulary=2048, length=128, rows=4),
    Setting(**_STARTER, vocabulary=2048, length=128, rows=4, dtype="float32"),
    Setting(**_SMALL, vocabulary=8192, length=256, rows=2),
    Setting(**_SMALL, vocabulary=8192, length=256, rows=2, checkpointing=True),
    Setting(**_TIED, vocabulary=32_000, length=128, rows=2),
)
_GPT2 = {"model": "gpt2", "width": 768, "layers": 12, "heads": 12, "kv_heads": 12, "inner": 3072}
_LLAMA = {"model": "llama", "width": 768, "layers": 8, "heads": 12, "kv_heads": 4, "inner": 2048}
_QWEN2 = {"model": "qwen2", "width": 896, "layers": 6, "heads": 14, "kv_heads": 2, "inner": 4864}
LARGE = (
    Setting(**_GPT2, vocabulary=50_257, length=256, rows=1),
    Setting(**_GPT2, vocabulary=50_257, length=128, rows=1, dtype="float32"),
    Setting(**_LLAMA, vocabulary=32_000, length=256, rows=2),
    Setting(**_LLAMA, vocabulary=32_000, length=512, rows=1, checkpointing=True),
    Setting(**_QWEN2, vocabulary=151_936, length=256, rows=1),
)
_STANDING = (Kind.weights, Kind.masters, Kind.states)


def work(settings: list[tuple[Setting, Path]], out: Path) -> None:
    """One process's part: train each, and write what it took."""
    found = []
    with joined() as ranks:
        for setting, base in settings:
            found.append(_one(setting, base))
        (out / f"{ranks.rank}.json").write_text(json.dumps(found))
        if not ranks.is_first:
            ranks.send(None)  # which the first says at the end


def _one(setting: Setting, base: Path) -> dict[str, Any]:
    count, meter = _WARM + _TIMED + 1, Meter(torch.device("cpu"))
    steps = steps_of(setting, count=count, vocabulary=config_of(setting).vocab_size)
    with tempfile.TemporaryDirectory() as place, kept_heap():
        task = task_of(setting, steps, base=str(base), folder=Path(place))
        task = dataclasses.replace(task, sharding=True)
        ready = prepare(task, dtype=DTYPES[setting.dtype], device=torch.device("cpu"))
        set_mode(ready.model, training=True, model_dropout=False)
        seconds = [take_step(ready, step) for step in steps[:-1]]
        held, peak, _ = tensor_bytes(ready, steps[-1], show=False)
        return {
            "held_bytes": held,
            "peak_bytes": peak,
            "process_bytes": meter.peak_bytes,
            "step_seconds": statistics.median(seconds[_WARM:]),
        }


def measured(settings: list[tuple[Setting, Path]], *, processes: int, threads: int) -> list[list[dict[str, Any]]]:
    """What each process took, for each setting."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.close()
        shared = {**os.environ, "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared["OMP_NUM_THREADS"] = str(threads)
        content = json.dumps([(dataclasses.asdict(setting), str(base)) for setting, base in settings])
        command = [sys.executable, "-m", "benchmarks.sharding", "--work", content, "--out", place]
        running = [subprocess.Popen(command, env=shared | {"RANK": str(rank)}) for rank in range(processes)]
        if any([process.wait() for process in running]):
            raise SystemExit(f"{processes} processes failed")
        found = [json.loads((Path(place) / f"{rank}.json").read_text()) for rank in range(processes)]
        return [list(ranks) for ranks in zip(*found, strict=True)]


def planned(setting: Setting, *, processes: int) -> TrainingMemory:
    """The memory of one of the processes on paper."""
    training = Training(
        method=Full(),
        length=setting.length,
        rows=setting.rows,
        loss_share=setting.loss_share,
        dtype=setting.dtype,
        checkpointing=setting.checkpointing,
        device="cpu",
        devices=processes,
        sharded=processes > 1,
    )
    shape = shape_from_config(config_of(setting).to_dict())
    return sharded_memory(shape, training) if processes > 1 else training_memory(shape, training)


def rows_of(settings: list[Setting]) -> list[dict[str, Any]]:
    """Each setting in a process alone, on both cores, and in two that share the model out, a core each."""
    with tempfile.TemporaryDirectory() as place:
        bases = [(setting, Path(place) / str(number)) for number, setting in enumerate(settings)]
        for setting, base in bases:
            make_base(setting, base)
        alone = measured(bases, processes=1, threads=2)
        two = measured(bases, processes=2, threads=1)
    return [_row(s, one[0], both) for s, one, both in zip(settings, alone, two, strict=True)]


def _row(setting: Setting, alone: dict[str, Any], two: list[dict[str, Any]]) -> dict[str, Any]:
    one, many = planned(setting, processes=1), planned(setting, processes=2)
    (step,) = (m for m in many.moments if m.moment == STEP)
    tokens = 2 * setting.rows * setting.length  # of a step's two micro-batches, in each process
    return {
        "setting": setting.words,
        "alone": alone,
        "two": two,
        "planned_alone_bytes": one.total_bytes,
        "planned_two_bytes": many.total_bytes,
        "planned_two_held_bytes": sum(step.by_kind[kind] for kind in _STANDING),
        "alone_tokens_a_second": tokens / alone["step_seconds"],
        "two_tokens_a_second": 2 * tokens / max(one["step_seconds"] for one in two),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; MiB, and the signed error of what was planned."""

    def mib(size: float) -> str:
        return f"{size / 2**20:,.1f}" if size < 100 * 2**20 else f"{size / 2**20:,.0f}"

    def off(found: float, real: float) -> str:
        return f"{100 * (found / real - 1):+.1f} %".replace("-", "−")

    lines = [
        "| setting | held by one | by each of two | planned | peak of one | of each of two | planned | "
        "process of one | of each of two | tokens/s of one | of two |",
        "|---|" + "---:|" * 10,
    ]
    for row in rows:
        two, alone = row["two"], row["alone"]
        held, peak = (max(one[key] for one in two) for key in ("held_bytes", "peak_bytes"))
        cells = [
            row["setting"],
            mib(alone["held_bytes"]),
            mib(held),
            off(row["planned_two_held_bytes"], held),
            mib(alone["peak_bytes"]),
            mib(peak),
            off(row["planned_two_bytes"], peak),
            mib(alone["process_bytes"]),
            mib(max(one["process_bytes"] for one in two)),
            f"{row['alone_tokens_a_second']:,.0f}",
            f"{row['two_tokens_a_second']:,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.sharding", description=__doc__)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.work:
        pairs = [(Setting(**{**one, "targets": ()}), Path(base)) for one, base in json.loads(given.work)]
        return work(pairs, given.out)
    rows = rows_of([setting for setting in (LARGE if given.large else SMALL) if given.only in setting.words])
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
