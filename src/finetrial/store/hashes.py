"""Is this the same content as before? SHA-256 over canonical JSON and over files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def hash_value(value: Any) -> str:
    """The hash of a JSON-able value; keys are sorted, so their order does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_folder(folder: Path, *, suffixes: tuple[str, ...] | None = None) -> str:
    """The hash of a folder's files by name and content, hidden files excluded."""
    files = sorted(
        p
        for p in folder.rglob("*")
        if p.is_file()
        and not any(part.startswith(".") for part in p.relative_to(folder).parts)
        and (suffixes is None or p.suffix in suffixes)
    )
    return hash_value([(str(p.relative_to(folder)), hash_file(p)) for p in files])
