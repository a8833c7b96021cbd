"""Ask the arms of a trial prompts of one's own, and keep what they answer as a file of outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.records import Sample

COLUMNS = (
    *("prompt", "arm", "index", "text", "prompt_id", "references"),
    *("end_reason", "tokens", "stripped_tokens", "seconds"),
)


def answer_row(sample: Sample) -> dict[str, Any]:
    """One answer as a row that `finetrial score` and `finetrial grade` read."""
    return {
        "prompt": sample.source if sample.source is not None else sample.prompt,
        "arm": sample.arm,
        "index": sample.index,
        "text": sample.text,
        "prompt_id": sample.prompt_id,
        "references": list(sample.references),
        "end_reason": sample.end_reason,
        "tokens": sample.tokens,
        "stripped_tokens": sample.stripped_tokens,
        "seconds": sample.seconds,
    }


def check_new_file(path: Path) -> None:
    """Raises UserError for a file that is there, or that `finetrial grade` would not read."""
    if path.suffix != ".jsonl":
        raise UserError("answers are written as JSON Lines", got=path.name, expected="a name that ends in .jsonl")
    if path.exists():
        raise UserError(f"there is a file {path}", fix="Name another one, or remove it; grades may stand on it.")


def write_answers(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write answers as a file of outputs."""
    atomic_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def answers_by_prompt(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The answers to each prompt, arms in their order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["prompt"], []).append(row)
    return found
