"""Calls into torch, transformers and safetensors: no progress bars, and a full disk is told plainly."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging

_ROOM = 1 << 20  # less free space than this after a failed write means that the disk is full. Assumption


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While open, transformers shows no bars and only errors, and Python no warnings."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """torch and safetensors report a failed write as errors of their own; say that the disk is full, and where."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(folder).free >= _ROOM:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
