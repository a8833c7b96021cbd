"""Where the fast paths for a CPU are of use: in training at bfloat16, whose plain operations are slow there."""

from __future__ import annotations

import torch


def no_cpu_training(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such a path is of no use on a device at a precision; None: it is of use."""
    if device.type != "cpu":
        return f"it is made for a CPU; on {device.type} torch's own stays"
    if dtype != torch.bfloat16:
        return f"it is made for bfloat16; at {str(dtype).removeprefix('torch.')} torch's own is as fast"
    return None


def in_cpu_training(x: torch.Tensor) -> bool:
    """Whether gradients are being made at bfloat16 on a CPU; evaluation and sampling keep torch's own."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled()
