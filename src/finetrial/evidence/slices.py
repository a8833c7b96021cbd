"""Cut the prompts by a column of their data and compare the arms in each part: where does which arm do well?

Exploratory throughout: nothing here is tested or corrected, and small parts have wide intervals.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.evidence.score_table import Table, Value
from finetrial.metrics.metric import Metric
from finetrial.metrics.tokens import unicode_tokens
from finetrial.stats.intervals import Interval, mean_interval
from finetrial.stats.unit_values import unit_means
from finetrial.store.records import Sample

LENGTH = "length"  # of the prompt in words, where the data have no column of this name
_MOST_PARTS = 12  # beyond, the rarer values stand together: a table of more is not read. Assumption
_CUTS = 3  # parts of a column of numbers that has more values than that
_FEWEST_IN_A_PART = 4  # of numbers that are cut; assumption


@dataclass(frozen=True, slots=True)
class Slice:
    """The prompts with one value, or with values in a range."""

    value: str
    n_prompts: int
    arms: Mapping[str, Interval]
    changed: tuple[tuple[str, str], ...]  # (better here, better over all): arms that change places


@dataclass(frozen=True, slots=True)
class Slices:
    """Every part of the prompts by one column. `missing` prompts have no value."""

    column: str
    metric: str
    parts: tuple[Slice, ...]
    missing: int
    reason: str | None = None  # why there are no parts


def slices_by(
    columns: Sequence[str], *, samples: Sequence[Sample], table: Table, metric: Metric, seed: int
) -> tuple[Slices, ...]:
    """The arms' means by one metric in each part of the prompts, column by column."""
    if metric.name not in table.values:
        return ()
    rows: dict[str, Mapping[str, Any]] = {}
    for sample in samples:
        length = len(unicode_tokens(sample.prompt if sample.source is None else sample.source))
        rows.setdefault(sample.prompt_id, {LENGTH: length, **(sample.columns or {})})
    return tuple(_by(column, rows=rows, table=table, metric=metric, seed=seed) for column in dict.fromkeys(columns))


def _by(column: str, *, rows: Mapping[str, Mapping[str, Any]], table: Table, metric: Metric, seed: int) -> Slices:
    known = {prompt: row[column] for prompt, row in rows.items() if row.get(column) is not None}
    if not known:
        return Slices(column, metric.name, (), len(rows), f"no prompt has a column {column}")
    parts = _parts(known)
    if len(parts) < 2:
        reason = "all prompts have the same value" if parts else "too few prompts to cut into parts"
        return Slices(column, metric.name, (), len(rows) - len(known), reason)
    over_all = _means(table, metric=metric, prompts=table.prompts, seed=seed)
    found = []
    for value, prompts in parts.items():
        arms = _means(table, metric=metric, prompts=prompts, seed=seed)
        found.append(Slice(value, len(prompts), arms, _changed(arms, over_all, sign=metric.factor)))
    return Slices(column, metric.name, tuple(found), len(rows) - len(known))


def _parts(known: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The prompts of each value, the commonest first; numbers of many values in thirds, by size."""
    values = list(known.values())
    is_number = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    if is_number and len(set(values)) > _CUTS:
        return _thirds(known) if len(known) >= _CUTS * _FEWEST_IN_A_PART else {}
    prompts: dict[str, list[str]] = defaultdict(list)
    for prompt, value in sorted(known.items()):
        prompts[_shown(value)].append(prompt)
    ordered = sorted(prompts, key=lambda name: (-len(prompts[name]), name))
    kept = ordered if len(ordered) <= _MOST_PARTS else ordered[: _MOST_PARTS - 1]
    found = {name: tuple(prompts[name]) for name in kept}
    if rare := ordered[len(kept) :]:
        found[f"{len(rare)} other values"] = tuple(prompt for name in rare for prompt in prompts[name])
    return found


def _thirds(known: Mapping[str, float]) -> dict[str, tuple[str, ...]]:
    """As many prompts in each part as the equal values allow."""
    ordered = sorted(known, key=lambda prompt: (known[prompt], prompt))
    edges = [known[ordered[len(ordered) * part // _CUTS - 1]] for part in range(1, _CUTS)]
    found: dict[str, list[str]] = {}
    for prompt in ordered:
        above = sum(known[prompt] > edge for edge in edges)
        found.setdefault(str(above), []).append(prompt)
    return {_range([known[prompt] for prompt in prompts]): tuple(prompts) for prompts in found.values()}


def _range(values: Sequence[float]) -> str:
    low, high = _shown(min(values)), _shown(max(values))
    return low if low == high else f"{low} to {high}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _means(table: Table, *, metric: Metric, prompts: Sequence[str], seed: int) -> dict[str, Interval]:
    """Each arm's mean over the units of these prompts, with its interval."""
    chosen = set(prompts)
    found = {}
    for arm, cells in table.values[metric.name].items():
        of_arm: dict[str, Sequence[Value]] = {p: cells.get(p, ()) for p in table.prompts if p in chosen}
        values = list(unit_means(of_arm, groups=table.groups).values())
        found[arm] = mean_interval(values, seed=seed, bounds=metric.bounds, unit=table.unit)
    return found


def _changed(
    here: Mapping[str, Interval], over_all: Mapping[str, Interval], *, sign: float
) -> tuple[tuple[str, str], ...]:
    """Every two arms that stand in the other order here."""
    found = []
    for a, b in itertools.permutations(here, 2):
        values = (here[a].estimate, here[b].estimate, over_all[a].estimate, over_all[b].estimate)
        if all(value is not None for value in values):
            here_a, here_b, all_a, all_b = (sign * (value or 0.0) for value in values)
            if here_a > here_b and all_a < all_b:
                found.append((a, b))
    return tuple(found)
