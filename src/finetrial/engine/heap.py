"""How does a step on a CPU avoid asking the system for the same memory again and again?

glibc hands freed memory back: large pieces at once, the end of the heap when it grows. Every step then faults in
hundreds of megabytes of fresh pages, which took an eighth of a full step's time (docs/decisions.md). While tuning,
freed memory stays in the process instead; afterwards it is handed back, and what the sampling needs again and again
is kept as glibc's own rule would have kept it: setting anything turns that rule off.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h
# where glibc's rule, which follows what is freed, ends on 64 bits once something large was freed
_LATER = {_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 32 << 20, _M_TRIM_THRESHOLD: 64 << 20}


@contextlib.contextmanager
def kept_heap() -> Iterator[bool]:
    """Freed memory stays in the process during the block. Yields whether this C library can do so."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield False
        return
    kept = bool(library.mallopt(_M_MMAP_MAX, 0) and library.mallopt(_M_TRIM_THRESHOLD, -1))
    try:
        yield kept
    finally:
        for setting, value in _LATER.items():
            library.mallopt(setting, value)
        library.malloc_trim(0)
