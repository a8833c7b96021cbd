"""What can torch use here? Imports torch and nothing else that is heavy."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class TorchDevice:
    """The device that tuning would use."""

    kind: str  # cuda, mps or cpu
    name: str | None
    memory_bytes: int | None  # of the accelerator
    bfloat16: bool | None  # None: only a measurement tells
    threads: int


def probe_device() -> TorchDevice:
    """The first accelerator, else the CPU."""
    threads = torch.get_num_threads()
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        return TorchDevice("cuda", facts.name, facts.total_memory, torch.cuda.is_bf16_supported(), threads)
    if torch.backends.mps.is_available():
        return TorchDevice("mps", None, None, None, threads)
    return TorchDevice("cpu", None, None, None, threads)
