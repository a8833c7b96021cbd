"""How long do the timed steps take, and how much memory did the process need?"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from benchmarks.tuning.setting import WARMUP
from finetrial.training.meter import process_peak_bytes


@dataclass(slots=True)
class StepClock:
    """Reads the clocks at the end of every step; the first ones are the warm-up."""

    device: torch.device
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def tick(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    @property
    def seconds(self) -> float:
        return self.wall[-1] - self.wall[WARMUP - 1]

    @property
    def cpu_seconds(self) -> float:
        return self.cpu[-1] - self.cpu[WARMUP - 1]


def peak_bytes(device: torch.device) -> int | None:
    """Reserved on the device (CUDA), else resident in the process, imports and all."""
    return torch.cuda.max_memory_reserved(device) if device.type == "cuda" else process_peak_bytes()
