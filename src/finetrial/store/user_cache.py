"""The folder for what is kept across trials on this machine: dequantised bases, measured rates, token counts."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """FINETRIAL_CACHE, or finetrial in the user's cache folder."""
    named = os.environ.get("FINETRIAL_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "finetrial"
