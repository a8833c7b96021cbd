"""Where does the time of one step go?

    python -m benchmarks.tuning.split [--model real] [--method lora] [--data FOLDER]

torch's profiler over one of finetrial's steps, after the warm-up; each operation's own time counts once. Products
are told apart by their shapes: batched ones are attention's, those with a side of LoRA's rank are thin, those with
a side of the vocabulary are the head's.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig

from benchmarks.tuning.clock import StepClock
from benchmarks.tuning.families import NAMES, make_base
from benchmarks.tuning.ours import run_finetrial
from benchmarks.tuning.setting import LORA_RANK, WARMUP, Setting
from benchmarks.tuning.workload import make_workload

_PRODUCTS = frozenset({"aten::mm", "aten::addmm", "aten::addmm_"})
_BATCHED = frozenset({"aten::bmm", "aten::baddbmm"})
_SOFTMAX = frozenset({"aten::_softmax", "aten::_softmax_backward_data"})
_MOVES = frozenset({"aten::index_select", "aten::cat", "aten::index_fill_"})  # of attention's rows
_SLICE = 4096  # the head's weight gradient is made in slices of so many words


def part_of(name: str, shapes: Sequence[Any], *, vocabulary: int) -> str:
    """What an operation is for."""
    if name in _PRODUCTS:
        sides = [side for shape in shapes if len(shape) == 2 for side in shape]
        if LORA_RANK in sides:
            return "thin products of LoRA"
        if vocabulary in sides or _SLICE in sides:
            return "products of the head"
        return "products of the layers"
    if name in _BATCHED:
        return "attention: products"
    if name in _SOFTMAX:
        return "attention: softmax"
    if name in _MOVES:
        return "attention: rows brought into order"
    if "adam" in name:
        return "optimizer"
    return f"other: {name.removeprefix('aten::')}"


class _OneStep(StepClock):
    """Profiles what runs between the end of the warm-up and the end of the next step."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.profile = profile(activities=[ProfilerActivity.CPU], record_shapes=True)

    def tick(self) -> None:
        super().tick()
        if len(self.wall) == WARMUP:
            self.profile.start()
        elif len(self.wall) == WARMUP + 1:
            self.profile.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning.split", description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(NAMES), default="real")
    parser.add_argument("--method", choices=("lora", "full"), default="lora")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    clock = _OneStep()
    with tempfile.TemporaryDirectory() as base, tempfile.TemporaryDirectory() as folder:
        make_base(options.model, Path(base), data=options.data)
        vocabulary = AutoConfig.from_pretrained(base).vocab_size
        workload = make_workload(options.data, steps=1, batch=options.batch, model=options.model)
        setting = Setting("finetrial", options.method)
        run_finetrial(setting, workload, base=Path(base), folder=Path(folder), learning_rate=1e-5, clock=clock)
    parts: Counter[str] = Counter()
    for event in clock.profile.key_averages(group_by_input_shape=True):
        parts[part_of(event.key, event.input_shapes, vocabulary=vocabulary)] += event.self_cpu_time_total
    total = sum(parts.values())
    print(f"{NAMES[options.model]}, {options.method}: {total / 1e6:.2f} s of operations in a step")
    small = 0
    for name, micros in parts.most_common():
        if micros < 0.01 * total:
            small += micros
            continue
        print(f"| {name} | {micros / total:.1%} |")
    print(f"| the rest, below 1 % each | {small / total:.1%} |")


if __name__ == "__main__":
    main()
