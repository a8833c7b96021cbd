"""Where fast paths are of use: in training; on a CPU at bfloat16, whose plain operations are slow there."""

from __future__ import annotations

import torch


def no_cpu_training(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such a path is of no use on a device at a precision; None: it is of use."""
    if device.type != "cpu":
        return f"it is made for a CPU; on {device.type} torch's own stays"
    if dtype != torch.bfloat16:
        return f"it is made for bfloat16; at {str(dtype).removeprefix('torch.')} torch's own is as fast"
    return None


def no_half_training(device: torch.device, dtype: torch.dtype) -> str | None:
    """The same of a path that is made for a CPU and for a CUDA card, there at both half precisions."""
    if device.type != "cuda":
        return no_cpu_training(device, dtype)
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it is made for half precisions; at {str(dtype).removeprefix('torch.')} torch's own stays"
    return None


def in_cpu_training(x: torch.Tensor) -> bool:
    """Whether gradients are being made at bfloat16 on a CPU; evaluation and sampling keep torch's own."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled()


def in_half_training(x: torch.Tensor) -> bool:
    """Whether gradients are being made where `no_half_training` allows it."""
    on_card = x.device.type == "cuda" and x.dtype != torch.float32 and torch.is_grad_enabled()
    return on_card or in_cpu_training(x)
