"""Measure the seconds of tuning without its pauses, and the peak memory of the process or the device."""

from __future__ import annotations

import re
import resource
import sys
import time
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _reset_process_peak() -> bool:
    """Set the kernel's high-water mark back to what is resident now (proc(5): clear_refs, value 5)."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def process_peak_bytes() -> int | None:
    """The most memory this process held resident, since the last reset where the kernel can reset."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Meter:
    """Counts seconds and peak memory of one arm; `before` is what earlier runs of it took."""

    def __init__(self, device: torch.device, *, seconds_before: float = 0.0, peak_before: int = 0) -> None:
        self._device = device
        self._seconds_before = seconds_before
        self._peak_before = peak_before
        self._began = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_process_peak()

    @property
    def seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._began

    @property
    def seconds_now(self) -> float:
        """Of this run alone."""
        return time.monotonic() - self._began

    @property
    def peak_bytes(self) -> int | None:
        """Reserved on the device (CUDA), else resident in the process."""
        if self._device.type == "cuda":
            now: int | None = torch.cuda.max_memory_reserved(self._device)
        else:
            now = process_peak_bytes()
        return None if now is None else max(now, self._peak_before)
