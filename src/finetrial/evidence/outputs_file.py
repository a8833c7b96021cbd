"""Read a file of outputs: texts, grades and values, each of an arm and a prompt.

.jsonl, .csv or .tsv, one row a text: prompt, arm, text, and where there are any reference(s), grade and rater,
source, prompt_id, group, run. Several rows of one prompt and arm are its samples; rows that differ in rater alone
are one sample graded by several people. A list of references stands in JSON as a list, in CSV as a JSON list; in
JSON a prompt may be the turns of a chat. Rows with `good` and `of` in place of a text are counts of good answers. A
file may be compressed (.gz, .zst).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.delimiters import delimiter_of
from finetrial.errors import UserError, unknown_name
from finetrial.evidence.counts_file import has_counts, samples_of_counts
from finetrial.evidence.logs.log_table import all_logs, log_files, read_logs
from finetrial.evidence.score_table import RatedSample
from finetrial.store.compressed_files import kind_of, read_text
from finetrial.store.records import Sample, Score, Turns
from finetrial.trial.chats import read_prompt_turns, readable
from finetrial.trial.examples import Message
from finetrial.trial.rows import json_list
from finetrial.trial.values import as_text, json_value

TABLES = (".jsonl", ".csv", ".tsv")
SUFFIXES = (*TABLES, ".json", ".eval")  # other tools' logs among them
_ALIASES = {
    "prompt": ("prompt", "input", "question", "instruction", "messages"),
    "arm": ("arm", "model", "system"),
    "text": ("text", "completion", "output", "response", "prediction"),
    "references": ("references", "reference", "target", "completions"),
    "source": ("source",),
    "prompt_id": ("prompt_id",),
    "group": ("group",),
    "grade": ("grade",),
    "rater": ("rater",),
    "run": ("run", "training_run", "training_seed"),
}
_READ = {name for names in _ALIASES.values() for name in names}
_GOOD = {"good": "good", "1": "good", "true": "good", "yes": "good"}
_BAD = {"bad": "bad", "0": "bad", "false": "bad", "no": "bad"}
_UNSURE = {"unsure": "unsure", "can't tell": "unsure", "cannot tell": "unsure"}
_GRADES = {**_GOOD, **_BAD, **_UNSURE}


@dataclass(frozen=True, slots=True)
class OutputsFile:
    """A file's samples with what stands beside them."""

    samples: tuple[Sample, ...]
    grades: tuple[RatedSample, ...]
    values: tuple[Score, ...]  # numbers that came from elsewhere
    runs: Mapping[str, str]  # sample id -> training run
    contents: Mapping[str, Hashable] | None  # all that a sample's row holds, but who graded it, and how
    arms: tuple[str, ...]
    counts: bool = False  # good of n by prompt and arm, without texts


@dataclass(frozen=True, slots=True)
class _Row:
    """One line, read."""

    prompt: str
    turns: Turns | None  # of a prompt that is a chat
    prompt_key: str
    arm: str
    text: str
    references: tuple[str, ...]
    source: str
    group: str | None
    rater: str | None
    grade: str | float | None
    run: str | None
    values: tuple[float | None, ...]
    others: tuple[tuple[str, str], ...]  # the columns that are not read
    columns: Mapping[str, Any]  # the same with their values, for metrics of the user's own

    @property
    def sample_key(self) -> Hashable:
        """What makes two rows the same text of the same place: all but who graded it, and how."""
        return (self.arm, self.prompt_key, self.run, self.text, self.values)

    @property
    def content(self) -> Hashable:
        """All that the row holds, but who graded it, and how."""
        return (self.sample_key, self.references, self.group, self.others)


def _csv_rows(text: str, *, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter_of(text, suffix=kind_of(path)))
    names = reader.fieldnames or []
    if twice := [name for name, n in Counter(names).items() if n > 1]:
        raise UserError(f"{path}, line 1: the column {twice[0]!r} stands twice")
    try:
        for row in reader:
            if None in row:
                raise UserError(
                    f"{path}, line {reader.line_num} has more cells than the header",
                    got=len(names) + len(row[None]),
                    expected=len(names),
                    fix="Quote cells that hold the delimiter.",
                )
            yield reader.line_num, {key: value or None for key, value in row.items()}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} is not CSV", got=str(error)) from None


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not path.exists():
        raise UserError(f"there is no file {path}", expected="a trial, or a file of samples or scores")
    text = read_text(path)
    if kind_of(path) in (".csv", ".tsv"):
        yield from _csv_rows(text, path=path)
        return
    if text.lstrip().startswith("[") and (listed := json_list(text)) is not None:
        yield from (
            (number, _is_row(row, path=path, place=f"row {number}")) for number, row in enumerate(listed, 1)
        )
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON", got=str(error)) from None
        yield number, _is_row(row, path=path, place=f"line {number}")


def _is_row(row: Any, *, path: Path, place: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{path}, {place} is not an object", got=type(row).__name__)
    return row


def _field(row: Mapping[str, Any], name: str) -> Any:
    return next((row[alias] for alias in _ALIASES[name] if row.get(alias) is not None), None)


def _text(value: Any) -> str:
    """Text that a file can hold, labels and JSON as JSON spells them. Halves of characters, which JSON can spell
    and UTF-8 cannot, are replaced."""
    text = as_text(value) if isinstance(value, (str, bool, list, dict)) else str(value)
    return text.encode("utf-16", errors="surrogatepass").decode("utf-16", errors="replace")


def _needed(row: Mapping[str, Any], name: str, *, where: str, expected: str) -> str:
    value = _field(row, name)
    if value is None and name == "text" and any(alias in row for alias in _ALIASES[name]):
        return ""  # the model said nothing
    if value is None or (isinstance(value, (list, dict)) and name != "text"):
        raise UserError(f"{where} has no {name}", got="columns " + ", ".join(map(str, row)), expected=expected)
    return _text(value)


def _prompt_turns(row: Mapping[str, Any], *, where: str) -> tuple[Message, ...]:
    """The turns of a prompt that is a chat, a list of {role, content}; none where it is a text."""
    value = _field(row, "prompt")
    if not isinstance(value, list):
        return ()
    turns = read_prompt_turns(value, origin=where)
    return tuple(Message(role=_text(turn.role), content=_text(turn.shown)) for turn in turns)


def _references(row: Mapping[str, Any], *, where: str) -> tuple[str, ...]:
    value = _field(row, "references")
    if value is None:
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            parsed = json.loads(value)
        except ValueError:
            return (_text(value),)  # a text that begins with a bracket
        value = parsed if isinstance(parsed, list) else value
    return tuple(_text(part) for part in value) if isinstance(value, list) else (_text(value),)


def _grade(value: Any, *, where: str) -> str | float | None:
    """good, bad or unsure, or the number of a scale."""
    if value is None:
        return None
    word = str(value).strip().casefold()
    if word in _GRADES:
        return _GRADES[word]
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: not a grade", got=repr(value), expected="good, bad, unsure, or a number")
    return number


def _number(value: Any, *, name: str, where: str) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: {name} is not a number", got=repr(value), expected="a number, or nothing"
        ) from None


def _read_row(row: Mapping[str, Any], *, where: str, values: Sequence[str], needs_text: bool) -> _Row:
    expected = "prompt, arm" + (", text [, reference, grade, rater]" if needs_text else "")
    turns = _prompt_turns(row, where=where)
    if turns:
        prompt = readable(turns)
    elif _field(row, "prompt") is None and _field(row, "prompt_id") is not None:
        prompt = ""  # which prompt it was is known, and not what it said
    else:
        prompt = _needed(row, "prompt", where=where, expected=expected)
    arm = _needed(row, "arm", where=where, expected=expected)
    text = _needed(row, "text", where=where, expected=expected) if needs_text else _text(_field(row, "text") or "")
    source, group = _field(row, "source"), _field(row, "group")
    shown = _text(source) if source is not None else prompt
    stated, rater, run = (_field(row, name) for name in ("prompt_id", "rater", "run"))
    for name in values:
        if name not in row:
            raise unknown_name(f"column (in {where})", name, map(str, row))
    return _Row(
        prompt=prompt,
        turns=tuple((turn.role, turn.content) for turn in turns) if len(turns) > 1 and source is None else None,
        prompt_key=shown if stated is None else f"\0{_text(stated)}",
        arm=arm,
        text=text,
        references=_references(row, where=where),
        source=shown,
        group=None if group is None else _text(group),
        rater=None if rater is None else _text(rater),
        grade=_grade(_field(row, "grade"), where=where),
        run=None if run is None else _text(run),
        values=tuple(_number(row[name], name=name, where=where) for name in values),
        columns={str(key): json_value(value) for key, value in row.items() if key not in _READ},
        others=tuple(sorted((str(k), repr(v)) for k, v in row.items() if k not in _READ and v is not None)),
    )


def _scaled(rows: Sequence[_Row]) -> dict[str, float]:
    """Where some grades are numbers beyond 0 and 1, the words that 0 and 1 were read as are numbers too."""
    if not any(isinstance(row.grade, float) for row in rows):
        return {}
    return {"good": 1.0, "bad": 0.0}


def read_outputs_file(path: Path, *, values: Sequence[str] = (), arm: str | None = None) -> OutputsFile:
    """Read a file of outputs; `values` are columns of numbers to analyse, and then texts are not needed.

    Rows that name no arm are of `arm`, where it is given.

    Raises UserError with the line that is wrong.
    """
    placed: Iterable[tuple[str, Mapping[str, Any]]]
    if path.exists() and (logged := read_logs(path)) is not None:
        placed = logged
    elif kind_of(path) not in TABLES:
        raise UserError(
            "a file of outputs has another form",
            got=path.name,
            expected=f".jsonl, .csv or .tsv (.gz, .zst), or a log of {', '.join(log.name for log in all_logs())}",
        )
    else:
        placed = ((f"{path}, line {number}", row) for number, row in _rows(path))
    if arm is not None:
        placed = ((where, row if _field(row, "arm") is not None else {**row, "arm": arm}) for where, row in placed)
    return outputs_of_rows(placed, name=str(path), values=values)


def holds_outputs(path: Path) -> bool:
    """Whether a path names outputs rather than a trial: a file of them, a log, or a folder of logs."""
    if path.is_dir():
        return not (path / "trial.yaml").exists() and bool(log_files(path))
    return kind_of(path) in SUFFIXES


def outputs_of_rows(
    placed: Iterable[tuple[str, Mapping[str, Any]]], *, name: str, values: Sequence[str] = ()
) -> OutputsFile:
    """Read rows of outputs, each with the place that errors name, as `read_outputs_file` reads a file's."""
    listed = list(placed)
    if listed and not values and all(has_counts(row) for _, row in listed):
        return _counts(listed)
    needs_text = not values
    rows = [_read_row(row, where=where, values=values, needs_text=needs_text) for where, row in listed]
    if not rows:
        raise UserError(f"{name} holds no outputs", expected="rows with prompt, arm and text")
    prompt_ids: dict[str, str] = {}
    for row in rows:
        name = row.prompt_key[1:] if row.prompt_key.startswith("\0") else f"prompt-{len(prompt_ids) + 1}"
        prompt_ids.setdefault(row.prompt_key, name)
    return _join(rows, prompt_ids=prompt_ids, values=values)


def _counts(placed: Sequence[tuple[str, Mapping[str, Any]]]) -> OutputsFile:
    samples, grades = samples_of_counts(placed)
    return OutputsFile(
        samples=samples,
        grades=grades,
        values=(),
        runs={},
        contents={sample.id: sample.id for sample in samples},  # no text says that two answers are one
        arms=tuple(dict.fromkeys(sample.arm for sample in samples)),
        counts=True,
    )


def _join(rows: Sequence[_Row], *, prompt_ids: Mapping[str, str], values: Sequence[str]) -> OutputsFile:
    """Rows as samples: the n-th row of a text by each rater is about the n-th sample of that text."""
    scale = _scaled(rows)
    seen: dict[tuple[Hashable, str | None], int] = defaultdict(int)
    samples: dict[tuple[Hashable, int], Sample] = {}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    grades, scores, runs, contents = [], [], {}, {}
    for row in rows:
        nth = seen[row.sample_key, row.rater]
        seen[row.sample_key, row.rater] += 1
        key = (row.sample_key, nth)
        if key not in samples:
            prompt_id = prompt_ids[row.prompt_key]
            index = counts[row.arm, prompt_id]
            counts[row.arm, prompt_id] += 1
            sample = samples[key] = _sample(row, prompt_id=prompt_id, index=index)
            scores += [Score(sample.id, n, v, f"column {n}") for n, v in zip(values, row.values, strict=True)]
            contents[sample.id] = row.content
            if row.run is not None:
                runs[sample.id] = row.run
        if row.grade is not None:
            value = scale.get(row.grade, row.grade) if isinstance(row.grade, str) else row.grade
            grades.append(RatedSample(samples[key].id, row.rater or "one rater", value))
    return OutputsFile(
        samples=tuple(samples.values()),
        grades=tuple(grades),
        values=tuple(scores),
        runs=runs,
        contents=contents,
        arms=tuple(dict.fromkeys(row.arm for row in rows)),
    )


def _sample(row: _Row, *, prompt_id: str, index: int) -> Sample:
    return Sample(
        id=f"{row.arm}/{prompt_id}/{index}",
        prompt_id=prompt_id,
        group=row.group,
        arm=row.arm,
        index=index,
        prompt=row.prompt,
        text=row.text,
        token_ids=None,
        references=row.references,
        end_reason=None,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
        source=row.source,
        turns=row.turns,
        columns=row.columns,
    )
