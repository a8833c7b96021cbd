"""Score JSON against JSON: the share of fields that match.

A field is a leaf of the document under its path: a value that is no object and no list, or an empty one of these.
Items of a list are fields by their place. Text compares as `exact` does, numbers by value, and true is not 1.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence
from typing import Any

from finetrial.metrics.answers import AnswerScore, read_json, same_spelling
from finetrial.metrics.metric import Output, ReferenceRule, SampleMetric, Settings, each
from finetrial.metrics.signature import Signature

_Path = tuple[str | int, ...]
_Leaf = tuple[str, Any]  # its kind, so that true is not 1, and its value


def _leaf(value: Any) -> _Leaf:
    if isinstance(value, str):
        return "text", same_spelling(value)
    if isinstance(value, (bool, type(None))):
        return "constant", value
    return ("number", value) if isinstance(value, (int, float)) else (type(value).__name__, None)


@functools.lru_cache(maxsize=4096)
def _fields(text: str) -> dict[_Path, _Leaf] | None:
    """The fields of a text that is one JSON value; None where it is none."""
    try:
        waiting: list[tuple[_Path, Any]] = [((), read_json(text))]
    except ValueError:
        return None
    found: dict[_Path, _Leaf] = {}
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [((*path, same_spelling(key)), item) for key, item in value.items()]
        elif isinstance(value, list) and value:
            waiting += [((*path, place), item) for place, item in enumerate(value)]
        else:
            found[path] = _leaf(value)
    return found


def _share(prediction: str, reference: str) -> float | None:
    wanted = _fields(reference)
    if wanted is None:
        return None
    mine = _fields(prediction)
    if mine is None:
        return 0.0
    right = sum(path in mine and mine[path] == leaf for path, leaf in wanted.items())
    return right / len(wanted.keys() | mine.keys())


def json_fields(
    prediction: str, references: str | Sequence[str], *, rule: ReferenceRule = ReferenceRule.BEST_PER_METRIC
) -> AnswerScore:
    """Fields that match over the fields of either document, best reference: an invented field costs what a missing
    one does.

    0 where the prediction is no JSON; undefined where no reference is JSON.
    """
    texts = [references] if isinstance(references, str) else list(references)
    shares = [share for text in texts if (share := _share(prediction, text)) is not None]
    signature = Signature("json_fields", reference_rule=str(_used(rule)))
    if not shares:
        return AnswerScore(None, signature, "no reference is JSON")
    return AnswerScore(statistics.fmean(shares) if _used(rule) is ReferenceRule.MEAN else max(shares), signature)


def _used(rule: ReferenceRule) -> ReferenceRule:
    """Which reference the primary prefers is ROUGE's to know: fields take their own best there."""
    return rule if rule is ReferenceRule.MEAN else ReferenceRule.BEST_PER_METRIC


def _value(output: Output, settings: Settings) -> float | None:
    return json_fields(output.text, output.references, rule=settings.references).value


def _no_json(outputs: Sequence[Output], settings: Settings) -> list[str]:
    """That some references are no JSON, by which nothing can be scored."""
    asked = [output for output in outputs if output.references]
    without = sum(all(_fields(text) is None for text in output.references) for output in asked)
    return [f"The references of {without} of {len(asked)} samples are no JSON: no fields."] if without else []


JSON_FIELDS = SampleMetric(
    name="json_fields",
    title="JSON fields",
    about="the share of a JSON document's fields that match a reference's",
    bounds=(0.0, 1.0),
    needs_references=True,
    compute=each(_value),
    sign=lambda settings: str(json_fields("", "", rule=settings.references).signature),
    warn=_no_json,
)
