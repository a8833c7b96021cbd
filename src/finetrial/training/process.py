"""The process while it tunes: an interrupt ends a run between two steps, and freed memory stays in the heap."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """While open, the first SIGINT or SIGTERM only sets `asked`; the second interrupts at once.

    Outside the main thread signals cannot be caught, and `asked` stays False.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
# where glibc's rule, which follows what is freed, ends on 64 bits once something large was freed
_LATER = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20}


@contextlib.contextmanager
def kept_heap() -> Iterator[bool]:
    """Keep freed memory in the process during the block. Yields whether this C library can do so.

    glibc hands freed memory back: large pieces at once, the end of the heap when it grows. Every step then faults
    in hundreds of megabytes of fresh pages, which took an eighth of a full step's time (docs/decisions.md).
    Afterwards it is handed back, and what the sampling needs again and again is kept as glibc's own rule would have
    kept it: setting anything turns that rule off.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield False
        return
    kept = bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, -1))
    try:
        yield kept
    finally:
        gc.collect()  # a model and what hangs on it refer to each other: only now can their memory be handed back
        for setting, value in _LATER.items():
            library.mallopt(setting, value)
        library.malloc_trim(0)


def trim_heap() -> None:
    """Hand freed memory back now, where the heap is kept, too."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "malloc_trim"):
        gc.collect()
        library.malloc_trim(0)
