"""Test whether the form in which an arm is deployed does as well as the arm: equivalence within a margin.

Two one-sided tests at .05 (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15): equivalent where
the 90 % interval of the paired difference lies within the margin on both sides. Where no prompt differs at all,
there is no spread to make an interval of: then the share of prompts that may differ is bounded (Clopper and
Pearson, at none of n), and each of these by the metric's whole range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from finetrial.evidence.score_table import Table
from finetrial.metrics.metric import ArmMetric, Metric
from finetrial.stats.intervals import paired_interval
from finetrial.stats.unit_values import is_present, unit_means
from finetrial.store.records import Sample

LEVEL = 0.9  # of the interval: two one-sided tests at .05
Outcome = Literal["equivalent", "different", "open"]


@dataclass(frozen=True, slots=True)
class DeployedAs:
    """What a trial file says of a deployed form."""

    of: str  # the arm
    margin: float


@dataclass(frozen=True, slots=True)
class DeployedForm:
    """A deployed form beside its arm: form minus arm by the primary metric. None: undefined, for the reason."""

    arm: str
    of: str
    metric: str
    margin: float
    difference: float | None
    low: float | None  # of the 90 % interval
    high: float | None
    n_units: int
    identical: int  # answers that are the arm's, character by character
    compared: int  # answers that both gave
    outcome: Outcome
    reason: str | None = None


def deployed_forms(
    table: Table, samples: Sequence[Sample], *, forms: Mapping[str, DeployedAs], metric: Metric, seed: int
) -> tuple[DeployedForm, ...]:
    """Every deployed form that has samples, beside its arm."""
    texts: dict[str, dict[tuple[str, int], str]] = {}
    for sample in samples:
        if not sample.run:  # of an arm that was tuned several times the first is what is deployed
            texts.setdefault(sample.arm, {})[sample.prompt_id, sample.index] = sample.text
    return tuple(
        _compared(table, texts, arm=arm, form=form, metric=metric, seed=seed)
        for arm, form in forms.items()
        if arm in texts and form.of in texts
    )


def _compared(
    table: Table,
    texts: Mapping[str, Mapping[tuple[str, int], str]],
    *,
    arm: str,
    form: DeployedAs,
    metric: Metric,
    seed: int,
) -> DeployedForm:
    own, theirs = texts[arm], texts[form.of]
    both = own.keys() & theirs.keys()
    identical = sum(own[key] == theirs[key] for key in both)
    cells = None if isinstance(metric, ArmMetric) else table.values.get(metric.name)
    if cells is None or arm not in cells or form.of not in cells:
        reason = "nothing is graded" if not isinstance(metric, ArmMetric) else "it has one value for a whole arm"
        return _form(arm, form, metric, identical=identical, compared=len(both), reason=reason)
    first = table.by_run.get(metric.name, {}).get(form.of, {}).get("0", cells[form.of])
    a, b = (
        list(unit_means({p: values.get(p, ()) for p in table.prompts}, groups=table.groups).values())
        for values in (cells[arm], first)
    )
    pairs = [(x, y) for x, y in zip(a, b, strict=True) if is_present(x) and is_present(y)]
    gaps = [float(x) - float(y) for x, y in pairs if x is not None and y is not None]
    if gaps and not any(gaps) and metric.bounds is not None:
        may_differ = 1 - ((1 - LEVEL) / 2) ** (1 / len(gaps))  # of all prompts, where none of n does
        most = may_differ * (metric.bounds[1] - metric.bounds[0])
        return _form(
            arm, form, metric, identical=identical, compared=len(both), n_units=len(gaps), bounds=(0.0, -most, most)
        )
    found = paired_interval(a, b, level=LEVEL, seed=seed, bounds=metric.bounds, unit=table.unit)
    bounds = None
    if found.estimate is not None and found.low is not None and found.high is not None:
        bounds = (found.estimate, found.low, found.high)
    return _form(
        arm,
        form,
        metric,
        identical=identical,
        compared=len(both),
        n_units=len(gaps),
        bounds=bounds,
        reason=found.reason,
    )


def _form(
    arm: str,
    form: DeployedAs,
    metric: Metric,
    *,
    identical: int,
    compared: int,
    n_units: int = 0,
    bounds: tuple[float, float, float] | None = None,
    reason: str | None = None,
) -> DeployedForm:
    difference, low, high = bounds if bounds is not None else (None, None, None)
    outcome: Outcome = "open"
    if low is not None and high is not None:
        if -form.margin < low and high < form.margin:
            outcome = "equivalent"
        elif high < -form.margin or low > form.margin:
            outcome = "different"
    return DeployedForm(
        arm=arm,
        of=form.of,
        metric=metric.name,
        margin=form.margin,
        difference=difference,
        low=low,
        high=high,
        n_units=n_units,
        identical=identical,
        compared=compared,
        outcome=outcome,
        reason=reason,
    )
