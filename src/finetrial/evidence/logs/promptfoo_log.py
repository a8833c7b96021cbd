"""Read the results of promptfoo: the .json and .jsonl that `promptfoo eval --output` writes.

An arm is a provider; where several prompts were tried, a provider with a prompt. A repetition is a sample: it has a
test index of its own, so that what makes two results one test are its variables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from finetrial.evidence.logs.log_format import LogFile, LogFormat, LogRows, number_of, text_of_parts

# assertions whose value is an answer that is right, and not a part or a property of one
_REFERENCES = {"equals", "similar", "levenshtein", "rouge-n", "bleu", "gleu", "meteor", "factuality"}
_NAMED_SO = ("reference", "references", "expected", "answer", "target")  # variables that hold one


def _is_one(file: LogFile) -> bool:
    if file.kind == ".jsonl":
        return {"promptIdx", "testIdx", "provider"} <= file.first.keys()
    return bool(_listed(file))


def _listed(file: LogFile) -> list[Any]:
    results = file.content.get("results") if isinstance(file.content, dict) else None
    rows = results.get("results") if isinstance(results, dict) else None
    return rows if isinstance(rows, list) and rows and "promptIdx" in rows[0] else []


def _results(file: LogFile) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if file.kind == ".jsonl":
        yield from ((f"{file.path}, line {number}", row) for number, row in file.lines())
    else:
        yield from ((f"{file.path}, result {number}", row) for number, row in enumerate(_listed(file), start=1))


def _references(result: Mapping[str, Any]) -> list[str] | None:
    asserted = (result.get("testCase") or {}).get("assert") or ()
    found = [str(one["value"]) for one in asserted if one.get("type") in _REFERENCES and "value" in one]
    named = result.get("vars") or {}
    found += [str(named[name]) for name in _NAMED_SO if isinstance(named.get(name), str)]
    return list(dict.fromkeys(found)) or None


def _variables(result: Mapping[str, Any]) -> str:
    return json.dumps(result.get("vars"), sort_keys=True)


def _rows(file: LogFile) -> LogRows:
    results = list(_results(file))
    several = len({row.get("promptId") or row["prompt"].get("label") for _, row in results}) > 1
    tests: dict[str, int] = {}  # variables -> the first test that has them
    for _, row in results:
        tests[_variables(row)] = min(tests.get(_variables(row), row["testIdx"]), row["testIdx"])
    for where, row in results:
        output = (row.get("response") or {}).get("output")
        if output is None:  # the provider failed
            continue
        provider = row["provider"]
        arm = (provider.get("label") or provider.get("id")) if isinstance(provider, dict) else provider
        if several:
            arm = f"{arm} {row['prompt'].get('label') or row['promptIdx']}"
        scores = {"score": row.get("score"), "success": row.get("success"), **(row.get("namedScores") or {})}
        numbers = {name: number for name, value in scores.items() if (number := number_of(value)) is not None}
        yield (
            where,
            {
                "prompt": row["prompt"]["raw"],
                "prompt_id": f"test-{tests[_variables(row)]}",
                "arm": str(arm),
                "text": output if isinstance(output, str) else text_of_parts(output),
                "references": _references(row),
                **numbers,
            },
        )


PROMPTFOO = LogFormat("promptfoo", (".json", ".jsonl"), _is_one, _rows)
