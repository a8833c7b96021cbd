"""Import matplotlib when something is drawn, whatever backend the environment names.

Figures are made as objects and written as files, so that no backend is ever loaded. But matplotlib reads MPLBACKEND
when it is imported, and a notebook's shell may name one that is not installed here: then the import itself fails.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import ModuleType


def load_matplotlib() -> ModuleType:
    """matplotlib, with its figures and tickers; an MPLBACKEND that it refuses is left alone."""
    named = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.ticker
    finally:
        if named is not None:
            os.environ["MPLBACKEND"] = named
    if named is not None:
        with contextlib.suppress(ValueError):  # "Key backend: ... is not a valid value"
            matplotlib.rcParams["backend"] = named  # as its own import would have set it
    return matplotlib
