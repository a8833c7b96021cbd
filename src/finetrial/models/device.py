"""The device and precision of an arm: what torch can use here, which precision pays, deterministic kernels."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import peft
import torch
import transformers

from finetrial import __version__
from finetrial.errors import UserError
from finetrial.models.kernels.accelerator import automatic_precision, check_card, device_capabilities

PrecisionSetting = Literal["auto", "float32", "bfloat16", "float16"]

_PROBE_SIDE = 768
_PROBE_SECONDS, _PROBE_TURNS = 0.2, 4
_WORTH = 1.15  # bfloat16 must be faster by this much to be chosen. Assumption: below it, precision is worth more

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(setting: str = "auto") -> torch.device:
    """The device by its name; `auto` takes the first accelerator there is, else the CPU.

    Raises UserError where there is none of that name, or a card that this torch has no kernels for.
    """
    if setting == "auto":
        if torch.cuda.is_available():
            return _usable(torch.device("cuda"))
        return torch.device("mps") if torch.backends.mps.is_available() else torch.device("cpu")
    try:
        device = torch.device(setting)
    except RuntimeError:
        raise UserError("unknown device", got=repr(setting), expected="auto, cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here", got=setting, fix="Use device cpu or auto.")
    return _usable(device)


def _usable(device: torch.device) -> torch.device:
    check_card(device_capabilities(device))
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

    `auto` measures and takes bfloat16 where it is faster, on cards without bfloat16 float16, else float32. The arms
    of a trial have what it came to when the run was planned (workflow/context.py).
    """
    if setting == "float16" and device.type != "cuda":
        raise UserError(
            "precision: float16 needs a CUDA device",
            got=device.type,
            fix="Use precision: auto, bfloat16 or float32.",
        )
    if setting != "auto":
        return DTYPES[setting]
    by_kind = automatic_precision(device_capabilities(device))
    return _measured_precision(device) if by_kind is None else by_kind


@functools.cache
def _measured_precision(device: torch.device) -> torch.dtype:
    """What pays, measured once in a process: arms that are compared may not differ by a moment's noise."""
    rates = {torch.bfloat16: 0.0, torch.float32: 0.0}
    for _ in range(_PROBE_TURNS):  # in turns, so that what else the machine does meets both
        for dtype in rates:
            try:
                rate = matrix_rate(dtype, device=device, seconds=_PROBE_SECONDS / _PROBE_TURNS)
            except RuntimeError:  # the device has no bfloat16
                return torch.float32
            rates[dtype] = max(rates[dtype], rate)
    return torch.bfloat16 if rates[torch.bfloat16] > _WORTH * rates[torch.float32] else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """float32, bfloat16 or float16."""
    return str(dtype).removeprefix("torch.")


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


@contextlib.contextmanager
def deterministic_kernels(*, wanted: bool) -> Iterator[None]:
    """Within, torch takes deterministic kernels only; what has none is refused.

    Does nothing unless `wanted`, nor without a CUDA device: a CPU repeats itself, and torch's mode slows it down.
    """
    if not wanted or not torch.cuda.is_available():
        yield
        return
    # cuBLAS reads it when its first handle is made: torch.use_deterministic_algorithms' documentation
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic  # whose flag is a property of the module's class, which has no types
    fill = memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    memory.fill_uninitialized_memory = False  # finds reads of unset memory; costs time
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise UserError(
            "a part of this model has no deterministic form on this device",
            got=str(error).splitlines()[0][:200],
            fix="Leave --deterministic out.",
        ) from None
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = fill


def versions_and_device() -> dict[str, Any]:
    """What another machine would need to know to repeat a run."""
    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "finetrial": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
        },
        "device": {
            "name": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
            "kind": "cuda" if cuda else "cpu",
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
    }
