"""Measure the seconds of tuning without its pauses, and the peak memory of the process or the device."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Callable, Sequence
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

    def __init__(
        self,
        device: torch.device,
        *,
        seconds_before: float = 0.0,
        peak_before: int = 0,
        share: Callable[[], float] | None = None,
    ) -> None:
        """`share` gives the arm's part of the seconds since now, where it shares them with others."""
        self._device, self._share = device, share
        self._seconds_before = seconds_before
        self._peak_before = peak_before
        self._began = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_process_peak()

    @property
    def seconds(self) -> float:
        return self._seconds_before + (self.seconds_now if self._share is None else self._share())

    @property
    def seconds_now(self) -> float:
        """Of this run alone, by the clock."""
        return time.monotonic() - self._began

    @property
    def peak_bytes(self) -> int | None:
        """Reserved on the device (CUDA), else resident in the process."""
        if self._device.type == "cuda":
            now: int | None = torch.cuda.max_memory_reserved(self._device)
        else:
            now = process_peak_bytes()
        return None if now is None else max(now, self._peak_before)


class SharedClock:
    """Divides the seconds that go by equally among the arms that are at work."""

    def __init__(self, count: int) -> None:
        self._seconds = [0.0] * count
        self._present: tuple[int, ...] = tuple(range(count))
        self._mark = time.monotonic()

    def work_for(self, arms: Sequence[int]) -> None:
        """From now on the seconds are these arms'."""
        self._divide()
        self._present = tuple(arms)

    def seconds(self, arm: int) -> float:
        """The arm's share until now."""
        self._divide()
        return self._seconds[arm]

    def _divide(self) -> None:
        now = time.monotonic()
        for arm in self._present:
            self._seconds[arm] += (now - self._mark) / len(self._present)
        self._mark = now
