"""Lock a trial folder, so that no two runs are at work in it.

A lock of the operating system on the folder itself: unlike a lock file's it leaves nothing behind, and a process
that dies gives it up.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from finetrial.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no flock; there two runs in one folder go unnoticed
    fcntl = None  # type: ignore[assignment]  # a module, or nothing

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # what some network file systems answer


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is missing, for as long as the block runs.

    Raises UserError while another process holds it. Where the file system knows no locks, nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
