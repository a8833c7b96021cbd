"""Hash values and files: SHA-256 over canonical JSON and over bytes."""

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


def hash_path(path: Path) -> str:
    """The hash of a file's content, or of a folder's files by name and content."""
    return hash_folder(path) if path.is_dir() else hash_file(path)


class FileHashes:
    """The hashes of files, each computed once for as long as its size and time of change stay the same."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, int, str]] = {}

    def of(self, path: Path) -> str | None:
        """The hash of a file's bytes; None where there is no such file."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        held = self._known.get(path)
        if held is None or held[:2] != (found.st_size, found.st_mtime_ns):
            held = (found.st_size, found.st_mtime_ns, hash_file(path))
            self._known[path] = held
        return held[2]


ABSENT = hash_value(None)  # of an input that is not there, which is one that is None
