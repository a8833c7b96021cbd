"""Which metrics are there, between which bounds do their values lie, and is more of them better?

ROUGE, exact match, token F1, valid JSON and the length ratio are computed here; a metric named `file.py:function`
is the user's own. What else stands in scores.jsonl (likelihoods that a model computed, columns from elsewhere) is
analysed alike.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.metrics.rouge import METRICS as ROUGE_METRICS

GRADE = "grade"  # people's: there is nothing to compute
EXACT, F1, JSON, LENGTH_RATIO = "exact", "f1", "json", "length_ratio"
COMPUTED = (*ROUGE_METRICS, EXACT, F1, JSON, LENGTH_RATIO)

_NAMES = {
    **{f"rouge{n}": f"ROUGE-{n}" for n in range(1, 10)},
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    EXACT: "Exact match",
    F1: "Token F1",
    JSON: "Valid JSON",
    LENGTH_RATIO: "Length ratio",
    GRADE: "People's grades",
}
_SHARES = frozenset((*ROUGE_METRICS, EXACT, F1, JSON, GRADE))
_OWN = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


class Better(enum.StrEnum):
    """Which way a metric points."""

    MORE = "more"
    LESS = "less"
    NEITHER = "neither"  # describes and does not judge: a length


@dataclass(frozen=True, slots=True)
class OwnFunction:
    """A metric of the user's own: a function of text and references in a Python file."""

    file: str
    function: str


def own_function(metric: str) -> OwnFunction | None:
    """The file and function that a metric names, or None where it names neither."""
    match = _OWN.fullmatch(metric)
    return OwnFunction(match["file"], match["function"]) if match else None


def check_metric(metric: str) -> None:
    """Raises UserError for a metric that is neither known nor the user's own."""
    if metric not in COMPUTED and own_function(metric) is None:
        if ".py" in metric:
            raise UserError("a metric of your own needs its function", got=metric, expected="file.py:function")
        raise unknown_name("metric in judging", metric, COMPUTED)


def check_primary(metric: str) -> None:
    """Raises UserError for a primary metric by which no arm can be better."""
    if direction(metric) is Better.NEITHER:
        raise UserError(
            f"{metric} cannot decide which arm is better: more of it is neither better nor worse",
            fix="Name another judging.primary, and keep it among judging.metrics.",
        )


def metric_name(metric: str) -> str:
    """The name people write: ROUGE-1 for rouge1; a metric of the user's own keeps its name."""
    return _NAMES.get(metric, metric)


def bounds(metric: str) -> tuple[float, float] | None:
    """The least and largest value that a metric can take; None where it has no such bounds."""
    return (0.0, 1.0) if metric in _SHARES else None


def direction(metric: str, *, less_is_better: Collection[str] = ()) -> Better:
    """Which way a metric points; metrics from elsewhere point up unless they are among `less_is_better`."""
    if metric in less_is_better:
        return Better.LESS
    return Better.NEITHER if metric == LENGTH_RATIO else Better.MORE
