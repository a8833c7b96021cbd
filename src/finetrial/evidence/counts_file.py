"""Read a table of counts: how many of an arm's answers to a prompt were good. The texts stand nowhere.

Columns prompt, arm, good, of; and group where prompts belong together. One row a prompt and arm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.score_table import RatedSample
from finetrial.store.records import Sample

COUNT_COLUMNS = ("good", "of")
_RATER = "the table"
_MOST = 100_000  # answers a prompt and arm; more is a slip of the column. Assumption


def has_counts(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of a table of counts."""
    return all(column in row for column in COUNT_COLUMNS)


def samples_of_counts(
    placed: Iterable[tuple[str, Mapping[str, Any]]],
) -> tuple[tuple[Sample, ...], tuple[RatedSample, ...]]:
    """Each count as that many answers without texts, and a grade for each of them.

    Raises UserError, with the place, for a row without prompt or arm, a count that cannot be, and a prompt and arm
    that stand twice.
    """
    samples: list[Sample] = []
    grades: list[RatedSample] = []
    prompt_ids: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}
    for where, row in placed:
        prompt, arm = (_text(row, name, where=where) for name in ("prompt", "arm"))
        good, of = (_count(row, name, where=where) for name in COUNT_COLUMNS)
        if good > of or not 1 <= of <= _MOST:
            raise UserError(
                f"{where}: invalid counts",
                got=f"{good} good of {of}",
                expected="at least one answer, and no more good ones than there are",
            )
        if (prompt, arm) in first:
            raise UserError(
                f"{where}: prompt {prompt!r} and arm {arm!r} stand twice",
                got=f"the first time in {first[prompt, arm].rsplit(', ', 1)[-1]}",
                fix="Keep one row for each; where the file holds several tables, make a file of each.",
            )
        first[prompt, arm] = where
        prompt_id = prompt_ids.setdefault(prompt, f"prompt-{len(prompt_ids) + 1}")
        group = row.get("group")
        for index in range(of):
            sample = _answer(prompt, prompt_id, arm, index=index, group=None if group is None else str(group))
            samples.append(sample)
            grades.append(RatedSample(sample.id, _RATER, "good" if index < good else "bad"))
    return tuple(samples), tuple(grades)


def _text(row: Mapping[str, Any], name: str, *, where: str) -> str:
    value = row.get(name)
    if value is None or isinstance(value, (list, dict)) or not str(value).strip():
        columns = "columns " + ", ".join(map(str, row))
        raise UserError(f"{where} has no {name}", got=columns, expected="prompt, arm, good, of")
    return str(value).strip()


def _count(row: Mapping[str, Any], name: str, *, where: str) -> int:
    value = row.get(name)
    try:
        number = float("nan") if isinstance(value, bool) else float(str(value).strip())
    except ValueError:
        number = float("nan")
    if not number.is_integer() or number < 0:
        raise UserError(f"{where}: {name} is not a count", got=repr(value), expected="a whole number, 0 or more")
    return int(number)


def _answer(prompt: str, prompt_id: str, arm: str, *, index: int, group: str | None) -> Sample:
    return Sample(
        id=f"{arm}/{prompt_id}/{index}",
        prompt_id=prompt_id,
        group=group,
        arm=arm,
        index=index,
        prompt=prompt,
        text="",
        token_ids=None,
        references=(),
        end_reason=None,
        logprob=None,
        tokens=None,
        seconds=None,
        seed=None,
        source=prompt,
    )
