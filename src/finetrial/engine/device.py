"""On which device and at which precision does an arm run here?"""

from __future__ import annotations

import time

import torch

from finetrial.engine.task import PrecisionSetting
from finetrial.errors import UserError

_PROBE_SIDE = 768
_PROBE_SECONDS = 0.15
_WORTH = 1.15  # bfloat16 must be faster by this much to be chosen. Assumption: below it, precision is worth more

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(setting: str = "auto") -> torch.device:
    """The device by its name; `auto` takes the first accelerator there is, else the CPU."""
    if setting == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(setting)
    except RuntimeError:
        raise UserError("unknown device", got=repr(setting), expected="auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here", got=setting, fix="Use device cpu or auto.")
    return device


def matrix_rate(dtype: torch.dtype, *, device: torch.device, seconds: float = _PROBE_SECONDS) -> float:
    """Floating-point operations a second of a square matrix product: the best of repeated timings."""
    side = _PROBE_SIDE if device.type == "cpu" else 4 * _PROBE_SIDE
    left = torch.randn(side, side, device=device).to(dtype)
    right = torch.randn(side, side, device=device).to(dtype)
    best, until = float("inf"), time.monotonic() + seconds
    left @ right
    while time.monotonic() < until:
        _wait(device)
        began = time.perf_counter()
        left @ right
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def choose_precision(setting: PrecisionSetting, *, device: torch.device) -> torch.dtype:
    """The precision by its name.

    `auto` measures and takes bfloat16 where it is faster, on cards without bfloat16 float16, else float32.
    """
    if setting == "float16" and device.type != "cuda":
        raise UserError(
            "precision: float16 needs a CUDA device",
            got=device.type,
            fix="Use precision: auto, bfloat16 or float32.",
        )
    if setting != "auto":
        return DTYPES[setting]
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    try:
        narrow = matrix_rate(torch.bfloat16, device=device)
    except RuntimeError:  # the device has no bfloat16
        return torch.float32
    wide = matrix_rate(torch.float32, device=device)
    return torch.bfloat16 if narrow > _WORTH * wide else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """float32, bfloat16 or float16."""
    return str(dtype).removeprefix("torch.")
