"""Define a log of another tool: how it is known, and the rows that are read of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from finetrial.errors import UserError
from finetrial.store.compressed_files import COMPRESSED, bytes_of, kind_of

# where a row stands, for errors, and its columns as a file of outputs has them: prompt, arm, text, references, ...
LogRows = Iterator[tuple[str, Mapping[str, Any]]]


@dataclass
class LogFile:
    """One file, read as JSON or as lines of JSON when it is first looked at."""

    path: Path
    _lines: list[tuple[int, Any]] = field(default_factory=list)

    @cached_property
    def content(self) -> Any:
        """The whole file as one JSON value; None where it is none."""
        try:
            return json.loads(bytes_of(self.path))
        except (ValueError, OSError):
            return None

    @property
    def kind(self) -> str:
        """The suffix that says what the file holds, however it is packed."""
        return kind_of(self.path)

    def _opened(self) -> TextIO:
        """The file's text, unpacked where its name says so."""
        if self.path.suffix.lower() in COMPRESSED:
            return io.TextIOWrapper(io.BytesIO(bytes_of(self.path)), encoding="utf-8-sig")
        return self.path.open(encoding="utf-8-sig")

    @cached_property
    def first(self) -> Mapping[str, Any]:
        """The object on the first line that is not blank; empty where there is none."""
        try:
            with self._opened() as stream:
                line = next((line for line in stream if line.strip()), "")
            found = json.loads(line)
        except (ValueError, OSError):
            return {}
        return found if isinstance(found, dict) else {}

    def lines(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Every line's object with its number. Raises UserError for a line that is none."""
        with self._opened() as stream:
            for number, line in enumerate(stream, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise UserError(f"{self.path}, line {number} is not JSON", got=str(error)) from None
                if not isinstance(row, dict):
                    raise UserError(f"{self.path}, line {number} is not an object", got=type(row).__name__)
                yield number, row


@dataclass(frozen=True, slots=True)
class LogFormat:
    """One tool's log."""

    name: str
    suffixes: tuple[str, ...]
    is_one: Callable[[LogFile], bool]
    rows: Callable[[LogFile], LogRows]


def is_log_format(value: object) -> bool:
    """Whether an object of an installed package is a format."""
    return isinstance(value, LogFormat)


def number_of(value: Any) -> float | None:
    """A score as a number: truth 1 or 0, Inspect's letters as it counts them; None for anything else."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        return float(value)
    return {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}.get(value) if isinstance(value, str) else None


def text_of_parts(content: Any) -> str:
    """A message's text: as it is, or that of its parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else json.dumps(content, ensure_ascii=False)
