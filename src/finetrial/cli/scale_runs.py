"""Which training runs does a csv file hold, in which columns, and which of its cells are bad?"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.delimiters import delimiter_of
from finetrial.errors import UserError, nearest, unknown_name
from finetrial.units import parse_count

if TYPE_CHECKING:
    from finetrial.scaling.runs import Runs

_ROLES = ("params", "tokens", "flops", "loss", "unique_tokens")
_SHOWN = 3  # bad cells named before the rest is only counted


def parse_columns(text: str | None) -> dict[str, str]:
    """Read `params="Model Size",flops="Training FLOP"`: our names and the file's."""
    if text is None:
        return {}
    mapping: dict[str, str] = {}
    # a csv row with whole fields quoted reads the same whether the shell took the quotes away or not
    for part in next(csv.reader([_quote_whole_fields(text)], skipinitialspace=True)):
        role, equals, name = part.partition("=")
        role, name = role.strip(), name.strip().strip("\"'")
        if not equals or not name:
            raise UserError(
                "--columns is not a list of NAME=COLUMN", got=repr(text), expected='params="Model Size"'
            )
        if role not in _ROLES:
            raise unknown_name("column role", role, _ROLES)
        if role in mapping:
            raise UserError(f"--columns names {role} twice", got=repr(text))
        mapping[role] = name
    return mapping


def _quote_whole_fields(text: str) -> str:
    """Turn params="a,b" into "params=a,b", so that a comma inside quotes does not split."""
    fields, current, quoted = [], "", False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append(current)
            current = ""
        else:
            current += character
    fields.append(current)
    return ",".join('"' + field.strip() + '"' for field in fields)


def read_runs(path: Path, *, columns: str | None) -> Runs:
    """The runs of a csv file. Raises UserError for a missing column and, with line numbers, for bad cells."""
    mapping = parse_columns(columns)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text, suffix=path.suffix))
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", expected="a csv file of runs") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder", expected="a csv file of runs") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text", got=str(error)) from None
    except csv.Error as error:
        raise UserError(f"{path} is not a csv file", got=str(error)) from None
    if not header or not any(header):
        raise UserError(f"{path} is empty", expected="a header line and one run a line")
    places = _places(path, header=header, mapping=mapping)
    if not rows:
        raise UserError(f"{path} has a header and no runs")
    return _numbers(path, header=header, rows=rows, places=places)


def _places(path: Path, *, header: list[str], mapping: dict[str, str]) -> dict[str, int]:
    """Where each role stands in a row."""
    places: dict[str, int] = {}
    for role in _ROLES:
        name = mapping.get(role, role)
        if header.count(name) > 1:
            raise UserError(f"{path} has the column {name!r} more than once")
        if name in header:
            places[role] = header.index(name)
        elif role in mapping:
            close = nearest(name, header)
            raise UserError(
                f"{path} has no column {name!r}",
                expected="one of " + ", ".join(header),
                fix=f"Did you mean {close!r}?" if close else None,
            )
    if "flops" in mapping and "tokens" not in mapping:
        places.pop("tokens", None)  # the user said which of the two to read
    missing = [role for role in ("params", "loss") if role not in places]
    if "tokens" not in places and "flops" not in places:
        missing.append("tokens or flops")
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}",
            got="the columns " + ", ".join(header),
            fix='Name its own with --columns params="...",flops="...",loss="...".',
        )
    return places


def _numbers(path: Path, *, header: list[str], rows: list[tuple[int, list[str]]], places: dict[str, int]) -> Runs:
    import numpy as np  # only for fits: `scale loss` must start without it

    from finetrial.scaling.runs import Runs

    values: dict[str, list[float]] = {role: [] for role in places}
    bad: list[str] = []
    for line, row in rows:
        for role, place in places.items():
            cell = row[place].strip() if place < len(row) else ""
            number, why = _number(cell)
            if why is not None:
                bad.append(f"line {line}, {header[place]}: {why}")
            values[role].append(number)
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"{path} has {len(bad)} bad cell{'s' if len(bad) > 1 else ''}",
            got="; ".join(bad[:_SHOWN]) + more,
            expected="finite numbers above zero, such as 67B, 4.1T or 1e21",
        )
    params_R = np.array(values["params"])
    tokens_R = np.array(values["tokens"]) if "tokens" in places else np.array(values["flops"]) / (6 * params_R)
    return Runs(
        params_R,
        tokens_R,
        np.array(values["loss"]),
        np.array([line for line, _ in rows]),
        np.array(values["unique_tokens"]) if "unique_tokens" in places else None,
    )


def _number(cell: str) -> tuple[float, str | None]:
    """The number in a cell, or what is wrong with it."""
    if not cell:
        return math.nan, "missing"
    try:
        plain = float(cell)
    except ValueError:
        try:
            plain = parse_count(cell)
        except UserError:
            return math.nan, f"{cell!r} is not a number"
    if not math.isfinite(plain):
        return math.nan, f"{cell!r} is not finite"
    if plain <= 0:
        return math.nan, f"{cell!r} is not above zero"
    return plain, None
