"""Give tables as DataFrames where pandas is installed, else as plain rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from finetrial.errors import UserError

if TYPE_CHECKING:
    import pandas

    Table: TypeAlias = pandas.DataFrame | list[dict[str, Any]]


def as_table(rows: Iterable[Mapping[str, Any]], *, columns: Sequence[str]) -> Table:
    """The rows as a DataFrame with these columns; a list of dicts where pandas is not installed."""
    plain = [{name: row.get(name) for name in columns} for row in rows]
    try:
        import pandas  # optional
    except ImportError:
        return plain
    return pandas.DataFrame(plain, columns=list(columns))


def columns_of(kind: type, *, without: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields of a record's type, in their order, as columns."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.name not in without)


def is_rows(value: object) -> bool:
    """True of rows in memory: a DataFrame, a data set, or a list of mappings."""
    if hasattr(value, "to_dicts") or (hasattr(value, "to_dict") and hasattr(value, "columns")):
        return True
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def read_rows_given(value: Any, *, name: str) -> list[dict[str, Any]]:
    """Rows in memory as dicts of plain values; pandas, polars and `datasets` are understood without being imported.

    `name` is what errors call the rows. Raises UserError where a row is no mapping.
    """
    if hasattr(value, "to_dicts"):  # polars
        given: Iterable[Any] = value.to_dicts()
    elif hasattr(value, "to_dict") and hasattr(value, "columns"):  # pandas
        given = value.to_dict("records")
    else:
        given = value
    rows = []
    for number, row in enumerate(given, start=1):
        if not isinstance(row, Mapping):
            raise UserError(
                f"{name}, row {number} is not a mapping",
                got=type(row).__name__,
                expected='a row such as {"prompt": ..., "completion": ...}',
            )
        rows.append({str(key): _plain(cell) for key, cell in row.items()})
    return rows


def _plain(cell: Any) -> Any:
    """A cell as JSON can hold it: numbers and arrays of numpy become Python's, what is missing becomes None."""
    if isinstance(cell, Mapping):
        return {str(key): _plain(part) for key, part in cell.items()}
    if isinstance(cell, (list, tuple)):
        return [_plain(part) for part in cell]
    if hasattr(cell, "tolist") and hasattr(cell, "dtype"):
        return _plain(cell.tolist())
    is_missing = cell is not None and not isinstance(cell, str) and cell != cell  # NaN and NaT equal nothing
    return None if is_missing else cell
