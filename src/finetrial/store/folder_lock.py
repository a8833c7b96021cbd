"""Lock a trial folder, so that no two runs are at work in it.

A lock of the operating system on the folder itself: unlike a lock file's it leaves nothing behind, and a process
that dies gives it up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from finetrial.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no flock; there two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]  # a module, or nothing

# What some network file systems answer; NFS locks no file that was opened to be read (flock(2)), EBADF.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)
_ASK_SECONDS = 0.2


@contextlib.contextmanager
def folder_lock(folder: Path, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the folder, which is made where it is missing, for as long as the block runs.

    Raises UserError while another process holds it, after waiting for it. Where the file system knows no locks,
    nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            _lock(handle, until=time.monotonic() + wait_seconds)
        except BlockingIOError:
            raise UserError(
                f"another run is at work in {folder}",
                fix="Wait for it or stop it, or give this one a folder of its own with --out.",
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


def _lock(handle: int, *, until: float) -> None:
    """Lock, and ask again until then. Raises BlockingIOError where another process holds it."""
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(_ASK_SECONDS)
