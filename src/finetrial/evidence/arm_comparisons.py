"""Compute each arm's mean with its interval, and compare every two arms.

By the primary metric, which was named before there were scores, every pair is tested on new prompts, on these
prompts and, where training was repeated, after another training run: three questions, each with Holm's correction
over its pairs. Every other metric is exploratory: its p-values stand uncorrected and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.evidence.findings import Interval, Power
from finetrial.evidence.score_table import ArmCells, Table, Value
from finetrial.metrics.metric import Direction, Metric
from finetrial.metrics.metric_table import metric_name
from finetrial.stats.comparison import (
    Comparison,
    compare_every_pair,
    compare_on_new_prompts,
    compare_on_these_prompts,
    compare_retrained,
)
from finetrial.stats.intervals import mean_interval
from finetrial.stats.power import Spread, detectable_difference, observed_spread, prompts_needed
from finetrial.stats.unit_values import is_present, unit_means

ALPHA, POWER = 0.05, 0.8
_ROUNDING = 1e-9  # of the largest value: a spread below it is none


def _units(table: Table, cells: Mapping[str, Sequence[Value]]) -> dict[str, Value]:
    """One value per unit, for every unit of the table; None where it has none."""
    return unit_means({prompt: cells.get(prompt, ()) for prompt in table.prompts}, groups=table.groups)


def arm_intervals(table: Table, *, metric: Metric, seed: int) -> dict[str, Interval]:
    """Every arm's mean by one metric with its interval over units."""
    found = {}
    for arm, cells in table.values[metric.name].items():
        values = list(_units(table, cells).values())
        interval = mean_interval(values, seed=seed, bounds=metric.bounds, unit=table.unit)
        n_prompts = sum(any(is_present(value) for value in row) for row in cells.values())
        n_units = sum(value is not None for value in values)
        found[arm] = Interval(interval.low, interval.high, interval.estimate, n_prompts, n_units, interval.reason)
    return found


def _of(metric: Metric, *, confirmatory: bool) -> dict[str, Any]:
    """What every comparison by this metric says of it."""
    is_lower = metric.direction is Direction.LOWER
    return {"metric": metric.name, "confirmatory": confirmatory, "lower_is_better": is_lower}


def pairs_on_new_prompts(table: Table, *, metric: Metric, confirmatory: bool, seed: int) -> tuple[Comparison, ...]:
    """Every two arms on new prompts: one value per unit and arm. `confirmatory`: the metric was named before."""
    arms = {arm: list(_units(table, cells).values()) for arm, cells in table.values[metric.name].items()}
    compare = lambda a, b: compare_on_new_prompts(a, b, seed=seed, bounds=metric.bounds, unit=table.unit)
    return compare_every_pair(arms, compare=compare, **_of(metric, confirmatory=confirmatory))


def pairs_on_these_prompts(
    table: Table, *, metric: Metric, confirmatory: bool, seed: int
) -> tuple[Comparison, ...]:
    """Every two arms on these prompts: only sampling varies. Nothing where no arm has two samples of a prompt."""
    arms = {arm: table.rows(metric.name, arm) for arm in table.values[metric.name]}
    if not any(len(row) > 1 for rows in arms.values() for row in rows):
        return ()
    compare = lambda a, b: compare_on_these_prompts(a, b, seed=seed, bounds=metric.bounds)
    return compare_every_pair(arms, compare=compare, **_of(metric, confirmatory=confirmatory))


@dataclass(frozen=True, slots=True)
class _Runs:
    """An arm's training runs as rows of unit values; one row where it was not trained or only once."""

    rows: tuple[tuple[Value, ...], ...]
    is_trained: bool


def _run_rows(table: Table, cells: ArmCells) -> tuple[tuple[Value, ...], ...]:
    return tuple(tuple(_units(table, prompts).values()) for _, prompts in sorted(cells.items()))


def pairs_retrained(table: Table, *, metric: Metric, confirmatory: bool) -> tuple[Comparison, ...]:
    """Every two arms after another training run. Nothing where no arm's training was repeated.

    An arm without runs, or with one, counts as not trained here only if the table says nothing of its runs.
    """
    if not any(len(runs) > 1 for runs in table.runs.values()):
        return ()
    arms = {}
    for arm, cells in table.values[metric.name].items():
        runs = table.by_run.get(metric.name, {}).get(arm)
        if runs:
            arms[arm] = _Runs(_run_rows(table, runs), True)
        else:
            arms[arm] = _Runs((tuple(_units(table, cells).values()),), False)
    compare = lambda a, b: compare_retrained(
        a.rows, b.rows, a_is_trained=a.is_trained, b_is_trained=b.is_trained, bounds=metric.bounds
    )
    return compare_every_pair(arms, compare=compare, **_of(metric, confirmatory=confirmatory))


def powers(table: Table, *, pairs: Sequence[Comparison]) -> tuple[Power, ...]:
    """For each pair: the difference these prompts can show, and the prompts for a difference as large as seen.

    Prompts of one group count as one sample each of their unit. At .05 for one pair; the floor of the exact test is
    that of the first of all pairs under Holm.
    """
    found = []
    for pair in pairs:
        if pair.metric is None or pair.metric not in table.values:
            absent = f"power is not estimated for {metric_name(pair.metric or '')}"
            found.append(_no_power(pair, n_prompts=pair.n_units, reason=absent))
            continue
        a, b = (_unit_rows(table, table.values[pair.metric][arm]) for arm in pair.arms)
        spread = observed_spread(a, b, unit=table.unit)
        parts = _known_parts(spread)
        if parts is None or pair.difference is None:
            found.append(_no_power(pair, n_prompts=spread.n_prompts, reason=spread.reason or pair.reason))
            continue
        detectable = detectable_difference(spread.n_prompts, **parts)
        needed = prompts_needed(pair.difference, **parts, n_pairs=len(pairs))
        reason, flat = needed.reason, False
        if detectable is None:
            reason = f"so few {table.unit}s reach .05 by no difference; {needed.by_test} are the fewest"
        elif detectable <= _ROUNDING * _largest(a, b):
            # a difference of nought would be "shown": the pilot has no spread to reckon with
            detectable, flat = None, True
            reason = (
                f"the arms differ by the same on each of {spread.n_prompts} {table.unit}s, and these say nothing "
                "of how far others would vary: what difference they can show is not known"
            )
        found.append(
            Power(
                a=pair.arms[0],
                b=pair.arms[1],
                difference=pair.difference,
                power=POWER,
                alpha=ALPHA,
                n_prompts=spread.n_prompts,
                n_samples=spread.samples,
                detectable=detectable,
                prompts_needed=None if flat else needed.prompts,
                reason=reason,
            )
        )
    return tuple(found)


def _known_parts(spread: Spread) -> dict[str, float] | None:
    """The variances and the samples by which they are divided, as arguments; None where one is not known."""
    parts = {
        "between": spread.between,
        "within_a": spread.within_a,
        "within_b": spread.within_b,
        "samples": spread.samples,
    }
    known = {name: value for name, value in parts.items() if value is not None}
    return known if len(known) == len(parts) else None


def _no_power(pair: Comparison, *, n_prompts: int, reason: str | None) -> Power:
    return Power(
        a=pair.arms[0],
        b=pair.arms[1],
        difference=pair.difference,
        n_prompts=n_prompts,
        n_samples=None,
        detectable=None,
        prompts_needed=None,
        power=POWER,
        alpha=ALPHA,
        reason=reason,
    )


def _largest(*arms: list[list[Value]]) -> float:
    finite = (abs(value) for rows in arms for row in rows for value in row if value is not None)
    return max((value for value in finite if math.isfinite(value)), default=0.0)


def _unit_rows(table: Table, cells: Mapping[str, Sequence[Value]]) -> list[list[Value]]:
    """The values of each unit: a prompt's samples, or the means of a group's prompts."""
    rows: dict[tuple[str, str], list[Value]] = {}
    for prompt in table.prompts:
        group = table.groups.get(prompt)
        if group is None:
            rows["prompt", prompt] = list(cells.get(prompt, ()))
        else:
            rows.setdefault(("group", group), []).append(unit_means({prompt: cells.get(prompt, ())})[prompt])
    return list(rows.values())


def prompts_to_settle(table: Table, *, pair: Comparison, distance: float, n_pairs: int) -> int | None:
    """The prompts with which a true difference `distance` away from a bound would be told from it."""
    if pair.metric is None or pair.metric not in table.values:
        return None
    a, b = (_unit_rows(table, table.values[pair.metric][arm]) for arm in pair.arms)
    parts = _known_parts(observed_spread(a, b))
    return None if parts is None else prompts_needed(distance, **parts, n_pairs=n_pairs).prompts
