"""Read the rows of a local file, each with its place in it.

Every fault is one error with the file and the line: bytes that are not UTF-8, a line that is not JSON, a row that
is not an object, a CSV row of the wrong width.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.delimiters import delimiter_of
from finetrial.errors import MissingPackage, Mistakes, UserError, make_all
from finetrial.store.compressed_files import kind_of, read_text

# A row may lack a key that others have; so many rows are read to learn the columns (assumption).
COLUMN_ROWS = 1000


class EmptyText(UserError):
    """A row without a text where one is needed; `empty: drop` leaves such rows out."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source."""

    origin: str  # for messages to the user: "train.jsonl:12"
    number: int  # 1-based: the line of a text or JSON Lines file, else the row
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one source. For plain text the rows are its lines, blank ones included, in the column `text`."""

    name: str
    rows: tuple[Row, ...]
    columns: tuple[str, ...]
    lines_of_text: bool = False


def make_table(name: str, rows: Iterable[Row], *, columns: Iterable[str] | None = None) -> Table:
    """A table of rows; its columns are those given, else the keys of the first rows in their order."""
    kept = tuple(rows)
    if columns is None:
        columns = dict.fromkeys(key for row in kept[:COLUMN_ROWS] for key in row.values)
    return Table(name=name, rows=kept, columns=tuple(columns))


def _lines(text: str) -> list[str]:
    """Lines as editors count them. str.splitlines would also break at U+2028, which JSON strings may hold."""
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines and lines[-1] == "" else lines


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _object(value: Any, *, origin: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{origin} is not a row", got=_kind(value), expected='an object such as {"prompt": ...}')
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _read_jsonl(path: Path) -> Table:
    def row(numbered: tuple[int, str]) -> Row:
        number, line = numbered
        origin = f"{path.name}:{number}"
        try:
            value = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{origin} is not JSON",
                got=str(error),
                expected="one JSON object a line",
                fix=_json_hint(number, line),
            ) from None
        return Row(origin, number, _object(value, origin=origin))

    text = read_text(path)
    lines = [(number, line) for number, line in enumerate(_lines(text), start=1) if line.strip()]
    if lines and lines[0][1].lstrip().startswith("[") and (rows := json_list(text)) is not None:
        return _of_list(path, rows)
    if lines and (hint := _json_hint(*lines[0])) is not None:
        row(lines[0])  # one document over many lines is one mistake
        raise UserError(f"{path.name} is not JSON Lines", got=lines[0][1], fix=hint)
    return make_table(path.name, make_all(row, lines))


def json_list(text: str) -> list[Any] | None:
    """The rows of a text that is one JSON list of objects, whatever its file is called; None where it is none."""
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, list) and any(isinstance(row, dict) for row in content) else None


def _json_hint(number: int, line: str) -> str | None:
    if number == 1 and line.strip() in ("[", "{"):
        return "This looks like one JSON document over many lines; name it .json, or write one object a line."
    return None


def _read_json(path: Path) -> Table:
    text = read_text(path)
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):  # one object a line, under another name
            return _read_jsonl(path)
        raise UserError(f"{path.name}:{error.lineno} is not JSON", got=error.msg) from None
    except ValueError as error:
        raise UserError(f"{path.name} is not JSON", got=str(error)) from None
    if not isinstance(content, list):
        raise UserError(f"{path.name} is not a list of rows", got=_kind(content), expected="a JSON list of objects")
    return _of_list(path, content)


def _of_list(path: Path, content: list[Any]) -> Table:
    """The rows of a JSON list."""
    origins = [f"{path.name} row {number}" for number in range(1, len(content) + 1)]
    numbered = list(enumerate(zip(origins, content, strict=True), start=1))
    rows = make_all(lambda given: Row(given[1][0], given[0], _object(given[1][1], origin=given[1][0])), numbered)
    return make_table(path.name, rows)


def _read_csv(path: Path) -> Table:
    text = read_text(path)
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than one long document
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text), strict=True)
    rows: list[Row] = []
    header: list[str] = []
    start = 1
    mistakes = Mistakes()
    try:
        for record in reader:
            origin = f"{path.name}:{start}"
            start = reader.line_num + 1
            if not record:
                continue
            if not header:
                header = [name.strip() for name in record]
                _check_header(header, path=path)
                continue
            if len(record) != len(header):
                mistakes.add(
                    UserError(
                        f"{origin} has {len(record)} fields",
                        expected=f"{len(header)}: {', '.join(header)}",
                        fix="Put fields that hold a comma, a quote or a line break in double quotes.",
                    )
                )
                continue
            rows.append(Row(origin, len(rows) + 1, dict(zip(header, record, strict=True))))
    except csv.Error as error:
        mistakes.add(UserError(f"{path.name}:{start} is not CSV", got=str(error), expected="quotes in pairs"))
    mistakes.raise_all()
    return make_table(path.name, rows, columns=header)


def _check_header(header: list[str], *, path: Path) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UserError(
            f"{path.name}: the column {twice[0]!r} stands twice in the header", fix="Rename one of the two."
        )


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise MissingPackage("pyarrow", extra="parquet", purpose=f"reading {path.name}") from None
    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise UserError(
            f"{path.name} is not a Parquet file",
            got=str(error).split("\n", 1)[0],
            fix="Name the file by what it holds, or write it again.",
        ) from None
    values = table.to_pylist()
    rows = [Row(f"{path.name} row {number}", number, value) for number, value in enumerate(values, start=1)]
    return make_table(path.name, rows, columns=table.column_names)


def _read_lines(path: Path) -> Table:
    lines = _lines(read_text(path))
    rows = tuple(Row(f"{path.name}:{n}", n, {"text": line}) for n, line in enumerate(lines, start=1))
    return Table(name=path.name, rows=rows, columns=("text",), lines_of_text=True)


_READERS = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}


def read_file(path: Path) -> Table:
    """The rows of a local file; its suffix says which kind it is."""
    if not path.is_file():
        here = (
            sorted(p.name for p in path.parent.glob("*") if kind_of(p) in _READERS) if path.parent.is_dir() else []
        )
        raise UserError(
            f"there is no data file {path}", expected=("one of " + ", ".join(here[:10])) if here else None
        )
    reader = _READERS.get(kind_of(path))
    if reader is None:
        raise UserError(
            f"{path.name} is of a kind that is not read",
            got=path.suffix or "no suffix",
            expected="one of " + ", ".join(_READERS) + ", or such a file with .gz or .zst behind it",
        )
    table = reader(path)
    if not table.rows:
        raise UserError(f"{path.name} is empty", got="no rows", expected="a row for each example")
    return table
