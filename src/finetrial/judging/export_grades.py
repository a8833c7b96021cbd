"""Write grades in the shapes that others read. None of them names an arm.

CSV and JSONL with one row a grade, a table of raters by items, {prompt, completion, label} and {prompt, chosen,
rejected} for preference trainers.
"""

from __future__ import annotations

import csv
import enum
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetrial.errors import UserError
from finetrial.judging.export_pairs import preference_pairs
from finetrial.store.files import atomic_text
from finetrial.store.grade_records import MODEL, Grade
from finetrial.store.grades import read_grades, read_pair_grades
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, ItemPair, read_rows

_COLUMNS = (
    "item_id",
    "rater",
    "rater_kind",
    "value",
    "label",
    "reasons",
    "note",
    "seconds",
    "occurrence",
    "position",
    "at",
    "blind",
    "text_hash",
    "rubric_hash",
    "version",
    "prompt",
    "text",
)


class Shape(enum.StrEnum):
    """How grades are written."""

    CSV = "csv"
    JSONL = "jsonl"
    MATRIX = "matrix"
    PREFERENCES = "preferences"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Written:
    """What an export holds."""

    path: Path
    rows: int
    left_out: int  # grades, or items, that this shape cannot hold


def _record(grade: Grade, item: Item) -> dict[str, object]:
    return {
        "item_id": grade.item_id,
        "rater": grade.rater,
        "rater_kind": grade.rater_kind,
        "value": grade.value,
        "label": grade.label,
        "reasons": list(grade.reasons),
        "note": grade.note,
        "seconds": grade.seconds,
        "occurrence": 2 if grade.repeat else 1,
        "position": grade.position,
        "at": grade.at,
        "blind": grade.blind,
        "text_hash": grade.text_hash,
        "rubric_hash": grade.rubric_hash,
        "version": grade.version,
        "prompt": item.prompt,
        "text": item.text,
    }


# What a spreadsheet takes for a formula, in any width of character, or steps over on the way to one (OWASP, "CSV
# Injection").
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def in_a_spreadsheet(cell: object) -> object:
    """A cell that no spreadsheet runs: an apostrophe stands before what would be a formula.

    `out_of_a_spreadsheet` takes it off again; texts that begin with apostrophes of their own survive both.
    """
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def out_of_a_spreadsheet(cell: str) -> str:
    """The text that `in_a_spreadsheet` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow([in_a_spreadsheet(cell) for cell in header])
    writer.writerows([in_a_spreadsheet(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _matrix(grades: Sequence[Grade]) -> tuple[str, int]:
    raters = sorted({grade.rater for grade in grades})
    items = sorted({grade.item_id for grade in grades})
    values = {(grade.rater, grade.item_id): grade.label or grade.value for grade in grades if not grade.repeat}
    rows = [[rater, *(values.get((rater, item), "") for item in items)] for rater in raters]
    return _csv_text(["rater", *items], rows), len(rows)


def _preferences(grades: Sequence[Grade], *, items: dict[str, Item]) -> tuple[str, int, int]:
    """One row an item: good or bad by the majority of its raters, models left out; even votes and mere `unsure`
    have none."""
    votes: dict[str, int] = {}
    for grade in grades:
        if not grade.repeat and grade.rater_kind != MODEL:
            votes[grade.item_id] = votes.get(grade.item_id, 0) + {"good": 1, "bad": -1, "unsure": 0}[grade.value]
    lines = [
        json.dumps({"prompt": items[i].prompt, "completion": items[i].text, "label": vote > 0}, ensure_ascii=False)
        for i, vote in sorted(votes.items())
        if vote != 0
    ]
    return "".join(line + "\n" for line in lines), len(lines), len(votes) - len(lines)


def save_grades(folder: TrialFolder, path: Path, *, shape: Shape) -> Written:
    """Write the grades that count. Raises UserError when there are none."""
    items = {item.item_id: item for item in read_rows(folder.items, Item)}
    every = read_grades(folder)
    grades = [grade for grade in every if grade.item_id in items]
    choices = read_pair_grades(folder) if shape is Shape.PAIRS else ()
    if not grades and not choices:
        raise UserError(f"nobody has graded anything in {folder.root} yet", fix="`finetrial grade` opens the page.")
    left_out = len(every) - len(grades)
    if shape is Shape.MATRIX:
        text, rows = _matrix(grades)
    elif shape is Shape.PAIRS:
        pairs = {pair.pair_id: pair for pair in read_rows(folder.pairs, ItemPair)} if choices else {}
        text, rows, left_out = preference_pairs(grades, choices, items=items, pairs=pairs)
    elif shape is Shape.PREFERENCES:
        text, rows, left_out = _preferences(grades, items=items)
    else:
        records = [_record(grade, items[grade.item_id]) for grade in grades]
        rows = len(records)
        if shape is Shape.JSONL:
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            flat = [{**r, "reasons": ";".join(grade.reasons)} for r, grade in zip(records, grades, strict=True)]
            text = _csv_text(_COLUMNS, [["" if r[c] is None else r[c] for c in _COLUMNS] for r in flat])
    atomic_text(path, text)
    return Written(path, rows, left_out)
