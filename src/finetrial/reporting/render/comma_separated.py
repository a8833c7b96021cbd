"""Write a report's numbers as CSV: tables.csv as they are shown, numbers.csv in full from results.json."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from finetrial.reporting.document import Document, Table, plain
from finetrial.reporting.safe_text import one_line

# What a spreadsheet reads as a formula (OWASP, CSV injection); signed numbers are none.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.])")
_LONGEST = 200  # characters of the head of a row, which may be a prompt
DIGITS = 12  # of a number: sums in another order differ later


def _safe(text: str) -> str:
    line = one_line(text, longest=_LONGEST)
    return f"'{line}" if _FORMULA.match(line) else line


def _written(rows: Iterable[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _table(section: str, table: Table) -> Iterator[Sequence[str]]:
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            shown = (section, table.name, plain(row.head), column, cell.text, "; ".join(cell.lines))
            yield (*map(_safe, shown), "best" if cell.best else "")


def render_tables_csv(document: Document) -> str:
    """tables.csv: a line for every cell of every table, as it is shown, and what stands in small type below it."""
    rows: list[Sequence[str]] = [("section", "table", "row", "column", "shown", "below", "best")]
    for section, block in document.blocks():
        if isinstance(block, Table):
            rows += _table(section.id, block)
    return _written(rows)


def _numbers(value: Any, *, pointer: str = "") -> Iterator[tuple[str, int | float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, pointer=f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _numbers(item, pointer=f"{pointer}/{place}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield pointer, value


def numbers_csv(results: Mapping[str, Any]) -> str:
    """numbers.csv: every number of results.json by where it stands there, as a JSON pointer (RFC 6901)."""
    rows = ((pointer, str(x) if isinstance(x, int) else f"{x:.{DIGITS}g}") for pointer, x in _numbers(results))
    return _written([("pointer", "value"), *rows])
