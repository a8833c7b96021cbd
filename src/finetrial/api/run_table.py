"""Read a table of training runs: which columns hold what, in which units, which cells are bad, which rows count."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finetrial.delimiters import delimiter_of
from finetrial.errors import UserError, nearest, unknown_name
from finetrial.scaling.run_columns import ROLES, Meaning, factor_of, meaning_of, parse_units, unit_in
from finetrial.store.compressed_files import kind_of, read_text
from finetrial.units import parse_count

if TYPE_CHECKING:
    from finetrial.scaling.training_runs import Runs

_SHOWN = 3  # bad cells named before the rest is only counted


@dataclass(frozen=True)
class Source:
    """The column that a role is read from."""

    name: str
    place: int
    unit: str | None
    given: bool  # by --columns, or named as the role itself


@dataclass(frozen=True)
class RunTable:
    """The runs of a file, how they were read, and its other columns, one cell a run."""

    runs: Runs
    sources: dict[str, Source]
    notes: tuple[str, ...]
    others: dict[str, list[str]]

    def columns(self) -> dict[str, dict[str, str | None]]:
        """Each role's column and unit, as it stands in `--json`."""
        return {role: {"column": found.name, "unit": found.unit} for role, found in self.sources.items()}


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
        if role not in ROLES:
            raise unknown_name("column role", role, ROLES)
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


def read_runs(path: Path, *, columns: str | None = None, units: str | None = None) -> Runs:
    """The runs of a csv file alone."""
    return read_table(path, columns=columns, units=units).runs


def read_table(
    path: Path, *, columns: str | None = None, units: str | None = None, where: Sequence[str] = ()
) -> RunTable:
    """The runs of a csv file. Raises UserError for a missing column, for units that cannot be, and for bad cells.

    `where` holds COLUMN=VALUE: only rows with that cell are read. Rows that repeat another are left out and named.
    """
    header, rows = _cells(path)
    return table_of(path, header=header, rows=rows, columns=columns, units=units, where=where)


def table_of(
    path: Path,
    *,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    columns: str | None = None,
    units: str | None = None,
    where: Sequence[str] = (),
) -> RunTable:
    """The runs of rows of cells, each with its line; `path` is what errors call them."""
    mapping, given_units = parse_columns(columns), parse_units(units)
    sources, notes = _sources(path, header=header, mapping=mapping, units=given_units)
    for role in given_units:
        if role not in sources:
            raise UserError(f"--units names {role}, which is not read", expected="of " + ", ".join(sources))
    rows = _chosen(path, header=header, rows=rows, where=where)
    values = _numbers(path, rows=rows, sources=sources)
    return _table(path, header=header, rows=rows, sources=sources, values=values, units=given_units, notes=notes)


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line."""
    try:
        text = read_text(path)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text, suffix=kind_of(path)))
        header = [name.strip() for name in next(reader, [])]
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", expected="a csv file of runs") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder", expected="a csv file of runs") from None
    except csv.Error as error:
        raise UserError(f"{path} is not a csv file", got=str(error)) from None
    if not header or not any(header):
        raise UserError(f"{path} is empty", expected="a header line and one run a line")
    if not rows:
        raise UserError(f"{path} has a header and no runs")
    return header, rows


def _sources(
    path: Path, *, header: list[str], mapping: dict[str, str], units: dict[str, str]
) -> tuple[dict[str, Source], list[str]]:
    """Where each role stands in a row, by --columns, by its own name, or by a name that says so."""
    found: dict[str, Source] = {}
    notes: list[str] = []
    for role in ROLES:
        name = mapping.get(role)
        if name is None:
            name, note = _recognised(path, role=role, header=header, taken=set(mapping.values()))
            notes += [note] if note else []
        elif name not in header:
            close = nearest(name, header)
            raise UserError(
                f"{path} has no column {name!r}",
                expected="one of " + ", ".join(header),
                fix=f"Did you mean {close!r}?" if close else None,
            )
        if name is None:
            continue
        if header.count(name) > 1:
            raise UserError(f"{path} has the column {name!r} more than once")
        unit = units.get(role, None if role == "loss" else unit_in(name))
        found[role] = Source(name, header.index(name), unit, given=role in mapping or name == role)
        if not found[role].given or (unit not in (None, "1") and role not in units):
            notes.append(f"{role} read from {name!r}" + (f" in units of {unit}" if unit else ""))
    for one, other in (("flops", "tokens"), ("tokens", "flops")):
        if one in mapping and other not in mapping:
            found.pop(other, None)  # the user said which of the two to read
    missing = [role for role in ("params", "loss") if role not in found]
    if "tokens" not in found and "flops" not in found:
        missing.append("tokens or flops")
    if missing:
        raise UserError(
            f"{path} has no column {', '.join(missing)}",
            got="the columns " + ", ".join(header),
            fix='Name its own with --columns params="...",flops="...",loss="...".',
        )
    return found, [note for note in notes if not any(f"{gone} read" in note for gone in set(ROLES) - set(found))]


def _recognised(path: Path, *, role: str, header: list[str], taken: set[str]) -> tuple[str | None, str | None]:
    """The column whose name says that it holds this role, and a note where others would have done."""
    meant = [(meaning.rank, name) for name in header if (meaning := meaning_of(name)) and meaning.role == role]
    meant = [(rank, name) for rank, name in meant if name not in taken]
    if not meant:
        return None, None
    best = min(rank for rank, _ in meant)
    names = [name for rank, name in meant if rank == best]
    if len(set(names)) > 1:
        raise UserError(
            f"{path} has {len(set(names))} columns that may hold {role}",
            got=", ".join(names),
            fix=f'Name the one to read: --columns {role}="{names[0]}".',
        )
    others = [name for rank, name in meant if rank != best]
    note = f"{role} read from {names[0]!r} and not from {', '.join(map(repr, others))}" if others else None
    return names[0], note


def _chosen(
    path: Path, *, header: list[str], rows: list[tuple[int, list[str]]], where: Sequence[str]
) -> list[tuple[int, list[str]]]:
    """The rows that hold every COLUMN=VALUE."""
    for text in where:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UserError("--where is not COLUMN=VALUE", got=repr(text), expected="for instance corpus=c4")
        if name not in header:
            raise unknown_name(f"column of {path}", name, header)
        place = header.index(name)
        cells = [row[place].strip() if place < len(row) else "" for _, row in rows]
        rows = [row for row, cell in zip(rows, cells, strict=True) if cell == value]
        if not rows:
            raise unknown_name(f"value of column {name}", value, sorted(set(cells))[:20])
    return rows


def _numbers(
    path: Path, *, rows: list[tuple[int, list[str]]], sources: dict[str, Source]
) -> dict[str, list[float]]:
    """Each role's numbers, in whole parameters, tokens and FLOPs."""
    values: dict[str, list[float]] = {role: [] for role in sources}
    bad: list[str] = []
    for line, row in rows:
        for role, source in sources.items():
            cell = row[source.place].strip() if source.place < len(row) else ""
            number, why = _number(cell, factor=factor_of(source.unit))
            if why is not None:
                bad.append(f"line {line}, {source.name}: {why}")
            values[role].append(number)
    if bad:
        more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
        raise UserError(
            f"{path} has {len(bad)} bad cell{'s' if len(bad) > 1 else ''}",
            got="; ".join(bad[:_SHOWN]) + more,
            expected="finite numbers above zero, such as 67B, 4.1T or 1e21",
        )
    return values


def _number(cell: str, *, factor: float) -> tuple[float, str | None]:
    """The number in a cell, or what is wrong with it; a suffix, as in 70M, takes the place of the column's unit."""
    if not cell:
        return math.nan, "missing"
    try:
        plain = float(cell) * factor
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


def _table(
    path: Path,
    *,
    header: list[str],
    rows: list[tuple[int, list[str]]],
    sources: dict[str, Source],
    values: dict[str, list[float]],
    units: dict[str, str],
    notes: list[str],
) -> RunTable:
    """The runs, checked: plausible counts, FLOPs against 6 N D, rows that repeat another left out."""
    import numpy as np  # only for fits: `scale loss` must start without it

    from finetrial.scaling.run_checks import against_6nd, repeated_rows, require_plausible
    from finetrial.scaling.training_runs import Runs

    arrays = {role: np.array(column) for role, column in values.items()}
    lines_R = np.array([line for line, _ in rows])
    names = {role: source.name for role, source in sources.items()}
    meanings = {
        role: Meaning(role, source.unit, 0)
        for role, source in sources.items()
        if role != "loss" and role not in units
    }
    params_R = arrays["params"]
    tokens_R = arrays["tokens"] if "tokens" in arrays else arrays["flops"] / (6 * params_R)
    if "tokens" in arrays:
        require_plausible(arrays, names=names, meanings=meanings)
    else:
        derived = arrays | {"tokens": tokens_R}
        require_plausible(derived, names=names | {"tokens": names["flops"]}, meanings=meanings)
    if {"tokens", "flops"} <= set(arrays):
        off = against_6nd(
            params_R=params_R, tokens_R=tokens_R, flops_R=arrays["flops"], lines_R=lines_R, names=names
        )
        notes = [*notes, *([off] if off else [])]
    runs = Runs(params_R, tokens_R, arrays["loss"], lines_R, arrays.get("unique_tokens"))
    again_R, note = repeated_rows(runs)
    used = {source.place for source in sources.values()}
    kept = [row for (_, row), again in zip(rows, again_R, strict=True) if not again]
    others = {
        name: [row[place].strip() if place < len(row) else "" for row in kept]
        for place, name in enumerate(header)
        if place not in used
    }
    return RunTable(runs.select(~again_R), sources, (*notes, *([note] if note else [])), others)
