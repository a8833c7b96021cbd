"""Read samples_<task>_<time>.jsonl of lm-evaluation-harness (--log_samples).

A line is a question under one filter: its answers stand in `resps`, one for each repeat. A question that several
filters scored stands on several lines, and counts once. What was asked of a multiple choice are likelihoods: its
answer is the choice with the largest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.evidence.logs.log_format import LogFile, LogFormat, LogRows, number_of

_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")


def _is_one(file: LogFile) -> bool:
    return file.kind == ".jsonl" and {"doc_id", "doc", "arguments", "resps"} <= file.first.keys()


def _model(path: Path) -> str:
    """The model: as results_<time>.json beside the file names it, else the folder's name."""
    named = _NAME.fullmatch(path.name)
    results = path.with_name(f"results_{named['time']}.json") if named else None
    if results is not None and results.exists():
        try:
            said = json.loads(results.read_bytes()).get("model_name")
        except (ValueError, AttributeError):
            said = None
        if isinstance(said, str) and said:
            return said.rstrip("/").rsplit("/", 1)[-1]
    return path.parent.name if named else path.stem


def _requests(row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Each request's prompt and what stands beside it: a continuation, or settings. Older logs have lists."""
    arguments = row["arguments"]
    if isinstance(arguments, dict):
        return [(str(one.get("arg_0", "")), one.get("arg_1")) for one in arguments.values()]
    return [(str(one[0]), one[1] if len(one) > 1 else None) for one in arguments]


def _likelihood(response: Any) -> float | None:
    """The log-likelihood of a response (number, greedy); None where it is a text."""
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    if isinstance(response, list) and len(response) == 2 and str(response[1]) in ("True", "False"):
        return float(response[0])
    return None


def _answers(row: Mapping[str, Any], requests: Sequence[tuple[str, Any]]) -> list[str]:
    responses = row["resps"]
    likelihoods = [_likelihood(response) for response in responses]
    known = [value for value in likelihoods if value is not None]
    if known and len(known) == len(responses):
        if len(known) == 1:  # one continuation: the model's where it is what greedy decoding writes
            return [str(requests[0][1]) if "True" in json.dumps(responses) else ""]
        return [str(requests[known.index(max(known))][1]).strip()]
    return [str(text) for text in (responses[0] if isinstance(responses[0], list) else responses)]


def _target(row: Mapping[str, Any], requests: Sequence[tuple[str, Any]]) -> Any:
    """The reference: of a multiple choice the choice that the target numbers."""
    target = row.get("target")
    choices = [str(beside).strip() for _, beside in requests if isinstance(beside, str)]
    if len(choices) > 1 and str(target).isdigit() and int(str(target)) < len(choices):
        return choices[int(str(target))]
    return target


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    found = {name: number_of(row.get(name)) for name in row.get("metrics", ())}
    return {name: value for name, value in found.items() if value is not None}


def _rows(file: LogFile) -> LogRows:
    named = _NAME.fullmatch(file.path.name)
    task, arm = named["task"] if named else file.path.stem, _model(file.path)
    kept: dict[str, tuple[str, dict[str, Any], list[str]]] = {}
    for number, row in file.lines():
        key, scores = str(row["doc_id"]), _scores(row)
        if key in kept:  # another filter's line of the same question
            kept[key][1].update({f"{name},{row.get('filter')}": value for name, value in scores.items()})
            continue
        requests = _requests(row)
        columns = {
            "prompt": requests[0][0],
            "prompt_id": f"{task}/{key}",
            "arm": arm,
            "task": task,
            "references": _target(row, requests),
            "id": row["doc"].get("id", key) if isinstance(row["doc"], dict) else key,
            **scores,
        }
        kept[key] = (f"{file.path}, line {number}", columns, _answers(row, requests))
    for where, columns, answers in kept.values():
        for text in answers:
            yield where, {**columns, "text": text}


LM_EVAL = LogFormat("lm-evaluation-harness", (".jsonl",), _is_one, _rows)
