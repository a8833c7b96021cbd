"""Read files of answers: AlpacaEval's model outputs, and MT-bench's answers beside its questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.logs.log_format import LogFile, LogFormat, LogRows

_ALPACA = {"instruction", "output", "generator"}
_QUESTIONS = "question.jsonl"


def _alpaca_rows(file: LogFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(file.content, list):
        yield from ((f"{file.path}, row {number}", row) for number, row in enumerate(file.content, start=1))
    else:
        yield from ((f"{file.path}, line {number}", row) for number, row in file.lines())


def _is_alpaca(file: LogFile) -> bool:
    listed = file.content if file.kind == ".json" else None
    first = listed[0] if isinstance(listed, list) and listed else file.first
    return isinstance(first, dict) and first.keys() >= _ALPACA


def _alpaca(file: LogFile) -> LogRows:
    for where, row in _alpaca_rows(file):
        if not row.keys() >= _ALPACA:
            raise UserError(f"{where} has no answer", got=", ".join(row), expected=", ".join(sorted(_ALPACA)))
        asked = row["instruction"] + (f"\n\n{row['input']}" if row.get("input") else "")
        columns = {"prompt": asked, "arm": row["generator"], "text": row["output"], "task": row.get("dataset")}
        yield where, {**columns, "references": row.get("reference")}


def _is_mt_bench(file: LogFile) -> bool:
    return file.kind == ".jsonl" and {"question_id", "model_id", "choices"} <= file.first.keys()


def _questions(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """The questions by their ids: question.jsonl in the answers' folder or one of the two above."""
    for folder in (path.parent, *path.parent.parents[:2]):
        if (folder / _QUESTIONS).exists():
            return {str(row["question_id"]): row for _, row in LogFile(folder / _QUESTIONS).lines()}
    raise UserError(
        f"the questions of {path.name} are not beside it",
        expected=f"{_QUESTIONS} in its folder or one of the two above, as in data/mt_bench",
    )


def _mt_bench(file: LogFile) -> LogRows:
    """Each turn is a prompt, behind the turns before it; both turns of a question are one group."""
    questions = _questions(file.path)
    for number, row in file.lines():
        where, key = f"{file.path}, line {number}", str(row["question_id"])
        if key not in questions:
            raise UserError(f"{where}: there is no question {key}", expected=f"one of {_QUESTIONS}")
        question = questions[key]
        references = question.get("reference") or ()
        for choice in row["choices"]:
            shown: list[dict[str, str]] = []
            for turn, (asked, said) in enumerate(zip(question["turns"], choice["turns"], strict=False)):
                shown.append({"role": "user", "content": asked})
                yield (
                    where,
                    {
                        "prompt": json.loads(json.dumps(shown)),
                        "prompt_id": f"{key}-{turn + 1}",
                        "group": key,
                        "arm": row["model_id"],
                        "text": said,
                        "references": references[turn] if turn < len(references) else None,
                        "category": question.get("category"),
                    },
                )
                shown.append({"role": "assistant", "content": said})


ALPACA = LogFormat("AlpacaEval", (".json", ".jsonl"), _is_alpaca, _alpaca)
MT_BENCH = LogFormat("MT-bench", (".jsonl",), _is_mt_bench, _mt_bench)
