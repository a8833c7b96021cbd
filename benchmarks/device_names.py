"""Name what a benchmark ran on, as its page says it."""

from __future__ import annotations

import torch

from finetrial.planning.machine import cpu_name


def device_name(device: str) -> str:
    """The card's own name, or the processor's with the threads that compute."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{cpu_name()}, {torch.get_num_threads()} threads"
