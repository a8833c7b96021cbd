"""How many floating-point operations a second do matrix products of the model's own sizes reach here?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.tuning.families import layer_products

_ROWS = {"cpu": 2048, "cuda": 16384}  # finetrial's micro-batch
_SECONDS = {"cpu": 3.0, "cuda": 1.0}


@dataclass(frozen=True, slots=True)
class MatrixRate:
    """bfloat16, by the wall clock and by processor seconds."""

    flops_per_second: float
    flops_per_cpu_second: float


def measure_rate(base: Path, *, device: torch.device) -> MatrixRate:
    """A layer's products, forward, again and again: the best pass over them."""
    rows = _ROWS[device.type]
    sizes = layer_products(base)

    def full(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=device).bfloat16()

    pairs = [(full(rows, inputs), full(inputs, outputs)) for inputs, outputs in sizes]
    flops = sum(2 * rows * inputs * outputs for inputs, outputs in sizes)
    repeats = 1 if device.type == "cpu" else 20  # enough of them for the clock
    best = best_cpu = float("inf")
    until = time.monotonic() + _SECONDS[device.type]
    while time.monotonic() < until:
        began, began_cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            for left, right in pairs:
                left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - began) / repeats)
        best_cpu = min(best_cpu, (time.process_time() - began_cpu) / repeats)
    return MatrixRate(flops / best, flops / best_cpu)
