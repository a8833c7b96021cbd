"""List the metrics, and find one by its name.

A new metric is one file in this folder and one row here. Installed packages add theirs through the entry-point
group `finetrial.metrics`: each entry point is a metric, or a tuple of metrics.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TypeGuard

from finetrial.errors import UserError, unknown_name
from finetrial.installed import installed
from finetrial.metrics.answers import ANSWERS
from finetrial.metrics.json_fields import JSON_FIELDS
from finetrial.metrics.labels import LABELS
from finetrial.metrics.mean_grade import GRADES
from finetrial.metrics.metric import ArmMetric, ComputedMetric, Direction, GivenMetric, Metric, SampleMetric
from finetrial.metrics.pattern import ABOUT as PATTERN_ABOUT
from finetrial.metrics.pattern import FORM as PATTERN_FORM
from finetrial.metrics.pattern import PREFIX, regex_metric
from finetrial.metrics.rouge import ROUGE
from finetrial.metrics.user_function import ABOUT as FUNCTION_ABOUT
from finetrial.metrics.user_function import FORM as FUNCTION_FORM
from finetrial.metrics.user_function import user_function

METRICS: tuple[Metric, ...] = (*ROUGE, *ANSWERS, JSON_FIELDS, *LABELS, GRADES)
# A metric that is named with something of the user's own: how it is written, and what it says.
FORMS = ((PATTERN_FORM, PATTERN_ABOUT), (FUNCTION_FORM, FUNCTION_ABOUT))
GROUP = "finetrial.metrics"


def installed_metrics() -> tuple[Metric, ...]:
    """The metrics that installed packages add. Raises UserError where one cannot be loaded, or a name is taken."""
    return _installed(tuple(sys.path))


@functools.lru_cache(maxsize=1)
def _installed(search_path: tuple[str, ...]) -> tuple[Metric, ...]:
    """`search_path` is where packages are looked for: another path, other packages."""
    taken = [metric.name for metric in METRICS]
    found = installed(GROUP, noun="metric", is_one=_is_metric, name=lambda metric: metric.name, taken=taken)
    return tuple(replace(row.value, version=row.value.version or row.package) for row in found)


def _is_metric(value: object) -> TypeGuard[Metric]:
    return isinstance(value, Metric)


def find_metric(name: str) -> Metric | None:
    """The metric of this name: finetrial's, the user's own pattern or function, or an installed package's.

    Raises UserError for a pattern that is none.
    """
    known = next((metric for metric in METRICS if metric.name == name), None)
    known = known or regex_metric(name) or user_function(name)
    return known or next((metric for metric in installed_metrics() if metric.name == name), None)


def metric_named(name: str, *, lower_is_better: Collection[str] = ()) -> Metric:
    """The metric of this name; a name that no metric has is one of values from elsewhere, better where higher.

    `lower_is_better` names those of which the user says the contrary.
    """
    found = find_metric(name) or GivenMetric(name=name, title=name)
    return replace(found, direction=Direction.LOWER) if name in lower_is_better else found


def metric_name(name: str) -> str:
    """A metric's title, the name people write: ROUGE-1 for rouge1."""
    return metric_named(name).title


def computed_metric(name: str) -> SampleMetric | ArmMetric:
    """The metric of this name, to be computed. Raises UserError where there is none."""
    found = find_metric(name)
    if isinstance(found, (SampleMetric, ArmMetric)):
        return found
    if name in (PREFIX, PREFIX.rstrip(":")):
        raise UserError("the metric regex needs its pattern", got=name, expected=f"'{PATTERN_FORM}'")
    if ".py" in name:
        raise UserError("a metric of your own needs its function", got=name, expected="file.py:function")
    computed = [m.name for m in (*METRICS, *installed_metrics()) if isinstance(m, ComputedMetric)]
    raise unknown_name("metric in judging", name, computed)


@dataclass(frozen=True, slots=True)
class ListedMetric:
    """One line of the list of metrics."""

    name: str  # as a trial file writes it
    about: str
    scale: str  # how to read its values
    needs_references: bool | None  # None: as the user's own pattern or function has it
    per: str  # what has a value: each text, or all an arm's texts
    package: str | None = None  # None: finetrial's own


def listed_metrics() -> tuple[ListedMetric, ...]:
    """Every metric there is here, the user's own forms and installed packages' at the end."""
    own = (ListedMetric(form, about, "as it says", None, "text") for form, about in FORMS)
    return (*map(_listed, METRICS), *own, *map(_listed, installed_metrics()))


def _listed(metric: Metric) -> ListedMetric:
    per = "arm" if isinstance(metric, ArmMetric) else "text"
    return ListedMetric(
        metric.name, metric.about or metric.title, metric.scale, metric.needs_references, per, metric.version
    )


def check_primary(metric: Metric) -> None:
    """Raises UserError for a primary metric by which no arm can be better."""
    if metric.direction is Direction.NEITHER:
        raise UserError(
            f"{metric.name} cannot decide which arm is better: higher is neither better nor worse",
            fix="Name another judging.primary, and keep it among judging.metrics.",
        )
