"""The row of the data that a text answers, as a metric may read it: columns by name, and the sample's own record.

What is read is noted, so that it can be stored with the samples and a trial checked without its data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class NotedColumns(Mapping[str, Any]):
    """A row's columns that note, in `read`, the names of those that are looked at; all where they are listed."""

    def __init__(self, values: Mapping[str, Any], *, read: set[str]) -> None:
        self._values, self._read = values, read

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]
        self._read.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        self._read |= self._values.keys()
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class SampleRow(Mapping[str, Any]):
    """`row["column"]` is a column of the data; `row.tokens` and the like are the sample's record."""

    def __init__(self, record: object) -> None:
        self._record = record
        self._columns: Mapping[str, Any] = getattr(record, "columns", None) or {}

    def __getitem__(self, name: str) -> Any:
        try:
            return self._columns[name]
        except KeyError:
            there = ", ".join(self._columns) or "none"
            raise KeyError(f"the row has no column {name!r}, of {there}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._record, name)
