"""Spell values of the data that are no text as text: integer and boolean labels, JSON objects and lists."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any


def is_scalar(value: Any) -> bool:
    """Whether a value is text, a number or a boolean: a label."""
    return isinstance(value, (str, bool, int, float))


def is_json_value(value: Any) -> bool:
    """Whether a value is an object, or a list of anything but texts. A list of texts is several references."""
    if isinstance(value, (list, tuple)):
        return any(not isinstance(item, str) for item in value)
    return isinstance(value, dict)


def holds_json(values: Iterable[Any]) -> bool:
    """Whether a column's values are JSON: then its empty lists and lists of texts are so too."""
    return any(map(is_json_value, values))


def json_value(value: Any) -> Any:
    """The value as a JSON file gives it back: no NaN, no infinity, and the `str` of what JSON has no type for."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, bool, int)) else str(value)


def as_text(value: Any) -> str:
    """A text as it is; anything else as JSON spells it, keys sorted: 1, true, {"a": 1, "b": 2}.

    Raises ValueError for a number that JSON has no word for; what JSON has no type for (a date) is its `str`.
    """
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, default=str)
