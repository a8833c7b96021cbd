"""Import grades that were given elsewhere, without duplicates.

Files saved by a bundle's page, CSV (ours or anyone's), and Label Studio's JSON. An event's identity follows from
the file's own identity or from what it says, so that a file read twice adds nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.delimiters import delimiter_of
from finetrial.errors import UserError
from finetrial.judging.bundle import Merged, is_bundle_file, merge_bundle, read_json
from finetrial.judging.events import CellState
from finetrial.judging.export_grades import out_of_a_spreadsheet
from finetrial.judging.grading_session import GradingSession
from finetrial.judging.raters import KINDS
from finetrial.store.compressed_files import kind_of, read_text
from finetrial.store.grade_records import MODEL, GradeScale, RaterKind
from finetrial.store.grades import REASONS
from finetrial.trial.set_aside import item_id

_VALUES = {
    "good": ("good", "1", "1.0", "true", "yes", "ok", "up", "positive", "accept", "g"),
    "bad": ("bad", "0", "0.0", "false", "no", "down", "negative", "reject", "b"),
    "unsure": ("unsure", "can't tell", "can’t tell", "cannot tell", "?", "skip", "unclear"),
}
_ALIASES = {
    "rater": ("rater", "annotator", "completed_by", "user", "grader", "judge"),
    "rater_kind": ("rater_kind",),  # a column `kind` may hold the kind of anything
    "label": ("label",),
    "value": ("value", "grade", "label", "choice", "rating", "sentiment"),
    "item_id": ("item_id", "item"),
    "prompt": ("prompt", "source", "input"),
    "text": ("text", "completion", "output", "response", "sample"),
    "reasons": ("reasons", "reason"),
    "note": ("note", "notes", "comment"),
    "seconds": ("seconds", "lead_time"),
    "occurrence": ("occurrence",),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """One grade from elsewhere. `where` names its place in messages."""

    where: str
    rater: str
    item_id: str
    occurrence: int
    value: str  # an answer of the trial's scale
    reasons: tuple[str, ...]
    note: str
    seconds: float | None
    rater_kind: RaterKind | None


def _answer(raw: str, *, scale: GradeScale | None) -> str | None:
    """The answer of the scale that a word means; None where it means none."""
    folded = raw.strip().casefold()
    if scale is None:
        known: Mapping[str, tuple[str, ...]] = _VALUES
    else:
        known = {**{label: (label.casefold(),) for label in scale.labels}, "unsure": _VALUES["unsure"]}
        if folded.endswith(".0"):  # how a spreadsheet writes a 4
            folded = folded.removesuffix(".0")
    return next((answer for answer, spellings in known.items() if folded in spellings), None)


def _value(fields: Mapping[str, str], *, where: str, scale: GradeScale | None) -> str:
    label = fields.get("label")
    raw = label if scale is not None and label else fields["value"]
    answer = _answer(raw, scale=scale)
    if answer is None:
        allowed = "good, bad or unsure (or 1, 0, ?)" if scale is None else ", ".join((*scale.labels, "unsure"))
        raise UserError(f"{where}: unknown grade", got=repr(raw), expected=allowed)
    return answer


def _kind(raw: str, *, where: str) -> RaterKind | None:
    given = raw.strip().casefold().replace("_", "-")
    if given and given not in KINDS:
        raise UserError(f"{where}: unknown kind of rater", got=repr(raw), expected=" or ".join(KINDS))
    return given or None


def _reasons(raw: str) -> tuple[str, ...]:
    given = {part.strip().casefold().replace(" ", "_") for part in re.split("[,;|]", raw)}
    return tuple(reason for reason in REASONS if reason in given)


def _seconds(raw: str) -> float | None:
    try:
        value = float(raw)
    except ValueError:
        return None
    return value if 0 <= value < 1e6 else None


def _item_of(fields: Mapping[str, str], *, where: str, items: Container[str]) -> str:
    if fields.get("item_id"):
        return fields["item_id"]
    if "prompt" in fields and "text" in fields:
        stated = item_id(fields["prompt"], fields["text"])
        if stated in items:
            return stated
        # as a spreadsheet may hold it: an apostrophe before what it would take for a formula
        return item_id(out_of_a_spreadsheet(fields["prompt"]), out_of_a_spreadsheet(fields["text"]))
    raise UserError(f"{where}: nothing says which text was graded", expected="item_id, or prompt and text")


def _row(fields: Mapping[str, str], *, where: str, session: GradingSession) -> _Row:
    for needed in ("rater", "value"):
        if not fields.get(needed, "").strip():
            raise UserError(f"{where}: no {needed}", expected=", ".join(_ALIASES[needed]))
    return _Row(
        where=where,
        rater=fields["rater"],
        item_id=_item_of(fields, where=where, items=session.every_item),
        occurrence=2 if fields.get("occurrence") == "2" else 1,
        value=_value(fields, where=where, scale=session.settings.scale),
        reasons=_reasons(fields.get("reasons", "")),
        note=fields.get("note", ""),
        seconds=_seconds(fields.get("seconds", "")),
        rater_kind=_kind(fields.get("rater_kind", ""), where=where),
    )


def _named(raw: Mapping[str, Any]) -> dict[str, str]:
    """The fields under our names, from whichever of the usual names they bear."""
    low = {str(key).strip().casefold(): value for key, value in raw.items() if key is not None}
    found = {}
    for name, aliases in _ALIASES.items():
        for alias in aliases:
            if low.get(alias) is not None:
                found[name] = str(low[alias])
                break
    return found


def _csv_rows(path: Path, *, session: GradingSession) -> Iterator[_Row]:
    text = read_text(path)
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB is less than one long text
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter_of(text, suffix=kind_of(path)))
    try:
        names = _named(dict.fromkeys(reader.fieldnames or (), ""))
    except csv.Error as error:
        raise UserError(f"{path} is not CSV", got=str(error)) from None
    if not {"rater", "value"} <= set(names):
        raise UserError(
            f"{path} has no columns of grades",
            got=", ".join(reader.fieldnames or ()) or "no columns",
            expected="rater, value and item_id (or prompt and text)",
        )
    ours = "text_hash" in (reader.fieldnames or ())  # then rater and note were written for a spreadsheet, too
    try:
        for raw in reader:
            fields = _named(raw)
            if ours:
                fields |= {name: out_of_a_spreadsheet(fields[name]) for name in ("rater", "note") if name in fields}
            yield _row(fields, where=f"{path.name}, line {reader.line_num}", session=session)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is not CSV", got=str(error)) from None


def _who(raw: Any) -> str:
    if isinstance(raw, Mapping):
        return str(raw.get("email") or raw.get("username") or raw.get("id") or "")
    return "" if raw is None else str(raw)


def _label_studio_rows(tasks: list[Any], *, path: Path, session: GradingSession) -> Iterator[_Row]:
    """Label Studio's JSON export, full or minimal: choices are the grade, text areas the note."""
    for number, task in enumerate(tasks, start=1):
        where = f"{path.name}, task {number}"
        if not isinstance(task, Mapping):
            raise UserError(f"{where} is not an object")
        data = task.get("data")
        if not isinstance(data, Mapping):  # the minimal export has everything on one level
            rater = _who(task.get("annotator", task.get("completed_by")))
            yield _row({**_named(task), "rater": rater}, where=where, session=session)
            continue
        annotations = task.get("annotations", ())
        if not isinstance(annotations, list) or not all(isinstance(one, Mapping) for one in annotations):
            raise UserError(f"{where}: `annotations` is not a list of objects")
        for annotation in annotations:
            if not annotation.get("was_cancelled"):
                yield _row(
                    _annotated(annotation, data=data, where=where, session=session), where=where, session=session
                )


def _annotated(
    annotation: Mapping[str, Any], *, data: Mapping[str, Any], where: str, session: GradingSession
) -> dict[str, str]:
    """The fields of one annotation. Raises UserError unless exactly one of its choices is a grade."""
    fields = {**_named(data), "rater": _who(annotation.get("completed_by"))}
    fields["seconds"] = str(annotation.get("lead_time") or "")
    choices: list[str] = []
    for result in annotation.get("result") or ():
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping):
            raise UserError(f"{where}: a result without a value")
        choices += [str(choice) for choice in value.get("choices") or ()]
        if value.get("text"):
            text = value["text"]
            fields["note"] = "\n".join(map(str, text)) if isinstance(text, list) else str(text)
    grades = [choice for choice in choices if _answer(choice, scale=session.settings.scale) is not None]
    if len(grades) != 1:
        raise UserError(f"{where}: {len(grades)} grades in one annotation", got=", ".join(choices) or "none")
    fields |= {"value": grades[0], "label": "", "reasons": ",".join(c for c in choices if c not in grades)}
    return fields


def _merge_rows(session: GradingSession, rows: list[_Row], *, file: str, source: str) -> Merged:
    if not rows:
        raise UserError(f"{file} holds no grades")
    known_rows = [row for row in rows if row.item_id in session.every_item]
    if rows and not known_rows:
        raise UserError(
            f"{file} belongs to another trial",
            got=f"{rows[0].where}: a text that was not set aside here",
            expected="item_id, or prompt and text, as they stand in items.jsonl",
        )
    origins = {row.rater: MODEL if row.rater_kind == MODEL else "page" for row in known_rows}
    raters = {name: session.book.join(name, origin=origin).name for name, origin in origins.items()}
    events: list[dict[str, Any]] = []
    for row in known_rows:
        rater = raters[row.rater]
        cell = {"rater": rater, "rater_kind": row.rater_kind, "item_id": row.item_id, "occurrence": row.occurrence}
        said = f"{rater}\0{row.item_id}\0{row.occurrence}\0"
        graded: dict[str, Any] = {"kind": "grade", "value": row.value, "reasons": list(row.reasons), **cell}
        if row.seconds is not None:
            graded["shown_ms"] = row.seconds * 1000
        events.append({**graded, "uid": _uid(source, said + row.value + ",".join(row.reasons))})
        if row.note:
            events.append({"kind": "note", "note": row.note, **cell, "uid": _uid(source, said + "note" + row.note)})
    standing = {
        (rater, cell.item_id, cell.occurrence): cell
        for rater in raters.values()
        for cell in session.book.cells(rater, mode="single")
    }
    new = [e for e in events if not _stands(e, standing.get((e["rater"], e["item_id"], e["occurrence"])))]
    added = session.book.append_all(
        session.event_from(event, source=source, rater=event["rater"], rater_kind=event["rater_kind"])
        for event in new
    )
    return Merged(file, tuple(raters.values()), added, len(events) - added, len(rows) - len(known_rows))


def _stands(event: Mapping[str, Any], cell: CellState | None) -> bool:
    """True where the database already says what this event says."""
    if cell is None:
        return False
    if event["kind"] == "note":
        return bool(cell.note == event["note"])
    return bool(cell.value == event["value"] and list(cell.reasons) == event["reasons"])


def _uid(source: str, said: str) -> str:
    return f"{source}-{hashlib.sha256(said.encode(errors='surrogatepass')).hexdigest()[:32]}"


def import_file(session: GradingSession, path: Path) -> Merged:
    """Merge one file of grades. Raises UserError when it is none, or belongs to another trial."""
    if kind_of(path) in (".csv", ".tsv"):
        return _merge_rows(session, list(_csv_rows(path, session=session)), file=path.name, source="csv")
    content = read_json(path)
    if is_bundle_file(content):
        return merge_bundle(session, content, file=path.name)
    if isinstance(content, list):
        rows = list(_label_studio_rows(content, path=path, session=session))
        return _merge_rows(session, rows, file=path.name, source="label-studio")
    raise UserError(
        f"{path} holds no grades", expected="a file saved by a grading page, a CSV, or Label Studio's JSON export"
    )


def import_files(session: GradingSession, paths: list[Path]) -> tuple[Merged, ...]:
    """Merge files, and every .json, .csv and .tsv of folders, in the order of their names."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if kind_of(p) in (".json", ".csv", ".tsv"))
            if not found:
                raise UserError(f"there is no file of grades in {path}", expected=".json, .csv or .tsv")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"there is no file {path}", expected="a file of grades: .json, .csv or .tsv")
    merged = tuple(import_file(session, path) for path in files)
    session.book.write_log("import", f"{len(files)} files, {sum(m.added for m in merged)} new events")
    return merged
