"""Say whether enough is graded, from people's grades in the order in which prompts were done.

This reads the sealed key, so it runs in a process of the owner's that shows nothing but its answer; the grading
server reads that answer alone.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.evidence.judge_material import as_judged
from finetrial.metrics.mean_grade import GRADE
from finetrial.stats.any_time import AnyTime, any_time, people_paths, stand_of
from finetrial.stats.assisted_any_time import Flipped, assisted_paths
from finetrial.stats.comparison import Comparison, Question
from finetrial.stats.significance import holm
from finetrial.store.grade_key import KeyedSample, read_sealed_key
from finetrial.store.grade_records import MODEL, GradingSettings
from finetrial.store.grades import counting, grading_state, read_events
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, read_rows
from finetrial.store.stopping_record import GradingStand
from finetrial.trial.schema import Trial
from finetrial.trial.set_aside import REFERENCES_ARM
from finetrial.trial.subset import unit_name, unit_order
from finetrial.trial.trial_file import load_trial

_VALUES = {"good": 1.0, "bad": 0.0}
Pair = tuple[str, str]
Unit = Mapping[str, float]  # the mean grade of each arm


@dataclass(frozen=True, slots=True)
class _Units:
    """A folder's units: what people and a judge said of them, and which are for people."""

    done: Mapping[str, Unit]  # people's grades, in the order in which units were done
    judge: Mapping[str, Unit]  # the judge's grades of every unit; empty without a judge that helps
    arms: Mapping[str, frozenset[str]]  # those that answered each unit
    for_people: frozenset[str]


def _units_of(folder: TrialFolder, samples: Mapping[str, tuple[KeyedSample, ...]], *, judge: str | None) -> _Units:
    """A unit is a prompt, or a group of prompts; it is done when each of its texts for people has a grade of one.

    What nobody could tell counts as graded, and as no value. `judge` names the model whose grades help.
    """
    items = list(read_rows(folder.items, Item))
    for_people = {item.item_id for item in items if item.for_people}
    group_of = _groups(folder, {s.arm for of_item in samples.values() for s in of_item})
    first: dict[str, int] = {}
    votes: dict[str, list[float]] = defaultdict(list)
    judged: dict[str, list[float]] = {}
    counted = counting(read_events(folder), kind="grade", mode="single")
    for (_, rater, item, occurrence), (seq, event) in counted.items():
        if event.rater_kind == MODEL:
            value = as_judged(event.value, event.label)
            if rater == judge and value is not None:
                judged[item] = [value]
        elif occurrence == 1 and item in for_people:
            first[item] = min(seq, first.get(item, seq))
            if event.value in _VALUES:
                votes[item].append(_VALUES[event.value])
    items_of: dict[str, set[str]] = defaultdict(set)
    arms_of: dict[str, set[str]] = defaultdict(set)
    for item in (row.item_id for row in items):
        for sample in samples.get(item, ()):
            unit = unit_name(sample.prompt_id, group=group_of.get(sample.prompt_id))
            items_of[unit].add(item)
            arms_of[unit].add(sample.arm)
    mine = {unit: found & for_people for unit, found in items_of.items() if found & for_people}
    done = {unit: max(first[i] for i in of) for unit, of in mine.items() if of <= first.keys()}
    in_order = sorted(done, key=lambda unit: (done[unit], unit))
    people = _means(samples, votes, group_of=group_of)
    return _Units(
        done={unit: people.get(unit, {}) for unit in in_order},
        judge=_means(samples, judged, group_of=group_of) if judge is not None else {},
        arms={unit: frozenset(arms) for unit, arms in arms_of.items()},
        for_people=frozenset(mine),
    )


def _means(
    samples: Mapping[str, tuple[KeyedSample, ...]],
    votes: Mapping[str, Sequence[float]],
    *,
    group_of: Mapping[str, str],
) -> dict[str, Unit]:
    """Each unit's mean grade by arm: over an item's votes, a prompt's items, and a group's prompts."""
    cells: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for item, values in votes.items():
        for sample in samples.get(item, ()):
            if values and sample.arm != REFERENCES_ARM:
                unit = unit_name(sample.prompt_id, group=group_of.get(sample.prompt_id))
                cells[unit][sample.arm][sample.prompt_id].append(_mean(values))
    return {
        unit: {arm: _mean([_mean(row) for row in prompts.values()]) for arm, prompts in arms.items()}
        for unit, arms in cells.items()
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _groups(folder: TrialFolder, arms: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for arm in sorted(arms - {REFERENCES_ARM}):
        if folder.samples(arm).exists():
            rows = read_rows(folder.samples(arm), Sample)
            found |= {row.prompt_id: row.group for row in rows if row.group is not None}
    return found


def _gap(unit: Unit, pair: Pair) -> float | None:
    a, b = pair
    return unit[a] - unit[b] if a in unit and b in unit else None


def _flipped(units: _Units, *, pair: Pair, order: Sequence[str], share: float) -> Flipped:
    """A pair's units in the drawn order, up to the first that awaits people.

    The places that the coin gave to people are filled by the units in the order in which people did them: neither
    hangs on the answers. Where nobody could tell, the difference is none: left out, it would count if not chosen.
    """
    places = [unit for unit in order if units.arms[unit] >= set(pair)]
    done = iter([unit for unit in units.done if units.arms[unit] >= set(pair)])
    people: list[float | None] = []
    judge: list[float | None] = []
    for place in places:
        unit = place
        if place in units.for_people:
            following = next(done, None)
            if following is None:
                break
            unit = following
            people.append(_gap(units.done[unit], pair) or 0.0)
        else:
            people.append(None)
        judge.append(_gap(units.judge.get(unit, {}), pair))
    return Flipped(tuple(people), tuple(judge), share)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a look at a grading finds: every pair's stakes and people's differences, and the rule."""

    paths: Mapping[Pair, Mapping[str, np.ndarray]]
    gaps: Mapping[Pair, tuple[float, ...]]
    done: int
    of: int
    rule: Mapping[str, float]


def helping_judge(trial: Trial, settings: GradingSettings) -> str | None:
    """The judge that helps grading that may stop at any time: the first, where coins were flipped for it."""
    if settings.stopping is None or "share" not in settings.stopping or not trial.judging.judges:
        return None
    first = trial.judging.judges[0]
    return None if first.scale == "pairs" else first.name


def _looked_at(folder: TrialFolder) -> _Looked | None:
    """None where no rule is declared."""
    settings = grading_state(folder).settings
    if settings is None or settings.stopping is None:
        return None
    rule = settings.stopping
    judge = helping_judge(load_trial(folder.root).trial, settings) if "share" in rule else None
    units = _units_of(folder, read_sealed_key(folder).items, judge=judge)
    order = unit_order(units.arms, seed=settings.seed)
    paths: dict[Pair, Mapping[str, np.ndarray]] = {}
    gaps: dict[Pair, tuple[float, ...]] = {}
    for pair in itertools.combinations([arm for arm in settings.arms if arm != REFERENCES_ARM], 2):
        found = [_gap(unit, pair) for unit in units.done.values()]
        gaps[pair] = tuple(gap for gap in found if gap is not None)
        if judge is None:
            paths[pair] = people_paths(gaps[pair], margin=rule["margin"])
        else:
            flipped = _flipped(units, pair=pair, order=order, share=rule["share"])
            paths[pair] = assisted_paths(flipped, margin=rule["margin"])
    return _Looked(paths, gaps, len(units.done), len(units.for_people), rule)


def grading_stand(folder: TrialFolder) -> GradingStand | None:
    """Whether what is graded is enough; None where the trial declares no stopping.

    Alpha is shared among the pairs of arms (Bonferroni), so that a false alarm on any of them has probability
    alpha.
    """
    events = grading_state(folder).events
    looked = _looked_at(folder)
    if looked is None:
        return None
    alpha = looked.rule["alpha"] / max(1, len(looked.paths))
    stand = stand_of([any_time(paths, alpha=alpha) for paths in looked.paths.values()])
    return GradingStand(stand.enough, stand.prompts_more, looked.done, looked.of, events)


def any_time_comparisons(folder: TrialFolder, *, confirmatory: bool) -> tuple[Comparison, ...]:
    """Every two arms by the e-process, as records that a verdict rests on; empty where no stopping is declared.

    The fixed-size interval does not hold after stopping early, so there is none.
    """
    looked = _looked_at(folder)
    if looked is None:
        return ()
    of, rule = looked.of, looked.rule
    found = {pair: any_time(paths, alpha=rule["alpha"]) for pair, paths in looked.paths.items()}
    p_values = {pair: _two_sided(row) for pair, row in found.items()}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return tuple(
        Comparison(
            question=Question.NEW,
            difference=_mean(gaps) if gaps else None,
            low=None,
            high=None,
            p=p_values[a, b],
            level=1 - rule["alpha"],
            n_units=len(gaps),
            n_missing=of - len(gaps),
            wins=sum(gap > 0 for gap in gaps),
            losses=sum(gap < 0 for gap in gaps),
            ties=sum(gap == 0 for gap in gaps),
            reason="a fixed-size interval is not valid after stopping early",
            a=a,
            b=b,
            metric=GRADE,
            p_over_pairs=corrected[a, b],
            confirmatory=confirmatory,
        )
        for (a, b), gaps in looked.gaps.items()
    )


def _two_sided(row: AnyTime) -> float | None:
    if row.p_better is None or row.p_worse is None:
        return None
    return min(1.0, 2 * min(row.p_better, row.p_worse))
