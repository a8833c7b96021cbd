"""Read the records of OpenAI evals (oaieval): a line with the run's `spec`, then one event a line.

A `sampling` event has prompt and answer, a `match` or `metrics` event of the same sample what was expected.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from finetrial.evidence.logs.log_format import LogFile, LogFormat, LogRows, number_of, text_of_parts


def _is_one(file: LogFile) -> bool:
    spec = file.first.get("spec")
    return file.kind == ".jsonl" and isinstance(spec, dict) and "eval_name" in spec


def _arm(spec: Mapping[str, Any]) -> str:
    named = spec.get("completion_fns") or [spec.get("model_name") or "model"]
    return str(named[0])


def _prompt(value: Any) -> Any:
    if isinstance(value, list):
        return [{"role": str(m.get("role")), "content": text_of_parts(m.get("content"))} for m in value]
    return value


def _rows(file: LogFile) -> LogRows:
    spec: Mapping[str, Any] = file.first["spec"]
    sampled: list[tuple[str, str, Mapping[str, Any]]] = []
    expected: dict[str, Any] = {}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for number, event in file.lines():
        kind, data, sample = event.get("type"), event.get("data"), str(event.get("sample_id"))
        if not isinstance(data, dict):
            continue
        if kind == "sampling":
            sampled.append((f"{file.path}, line {number}", sample, data))
        elif kind in ("match", "metrics"):
            for name in ("expected", "ideal"):
                if data.get(name) is not None:
                    expected.setdefault(sample, data[name])
            values = {name: number_of(value) for name, value in data.items()}
            scores[sample] |= {name: value for name, value in values.items() if value is not None}
    for where, sample, data in sampled:
        answers = data.get("sampled")
        for text in answers if isinstance(answers, list) else [answers]:
            yield (
                where,
                {
                    "prompt": _prompt(data.get("prompt")),
                    "prompt_id": sample,
                    "arm": _arm(spec),
                    "task": str(spec["eval_name"]),
                    "text": "" if text is None else text_of_parts(text),
                    "references": expected.get(sample),
                    **scores[sample],
                },
            )


OPENAI_EVALS = LogFormat("OpenAI evals", (".jsonl",), _is_one, _rows)
