"""Say whether enough is graded, from people's grades in the order in which prompts were done.

This reads the sealed key, so it runs in a process of the owner's that shows nothing but its answer; the grading
server reads that answer alone.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from finetrial.metrics.mean_grade import GRADE
from finetrial.stats.any_time import AnyTime, any_time, stand_of
from finetrial.stats.comparison import Comparison, Question
from finetrial.stats.significance import holm
from finetrial.store.grade_key import KeyedSample, read_sealed_key
from finetrial.store.grade_records import MODEL
from finetrial.store.grades import counting, grading_state, read_events
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, read_rows
from finetrial.store.stopping_record import GradingStand
from finetrial.trial.set_aside import REFERENCES_ARM

_VALUES = {"good": 1.0, "bad": 0.0}
Pair = tuple[str, str]


def _done_units(
    folder: TrialFolder, samples: Mapping[str, tuple[KeyedSample, ...]]
) -> tuple[list[dict[str, float]], int]:
    """Each unit's mean grade by arm, in the order in which units were done, and how many there are in all.

    A unit is a prompt, or a group of prompts; it is done when each of its texts for people has a grade of a person.
    What nobody could tell counts as graded, and as no value.
    """
    for_people = {item.item_id for item in read_rows(folder.items, Item) if item.for_people}
    group_of = _groups(folder, {s.arm for name in for_people for s in samples.get(name, ())})
    first: dict[str, int] = {}
    votes: dict[str, list[float]] = defaultdict(list)
    counted = counting(read_events(folder), kind="grade", mode="single")
    for (_, _, item, occurrence), (seq, event) in counted.items():
        if event.rater_kind == MODEL or occurrence > 1 or item not in for_people:
            continue
        first[item] = min(seq, first.get(item, seq))
        if event.value in _VALUES:
            votes[item].append(_VALUES[event.value])
    items_of: dict[str, set[str]] = defaultdict(set)
    cells: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for item in for_people:
        for sample in samples.get(item, ()):
            unit = group_of.get(sample.prompt_id, f"prompt {sample.prompt_id}")
            items_of[unit].add(item)
            if votes[item] and sample.arm != REFERENCES_ARM:
                mean = math.fsum(votes[item]) / len(votes[item])
                cells[unit][sample.arm][sample.prompt_id].append(mean)
    done = {unit: max(first[i] for i in items) for unit, items in items_of.items() if items <= first.keys()}
    units = [
        {arm: _mean([_mean(row) for row in prompts.values()]) for arm, prompts in cells[unit].items()}
        for unit in sorted(done, key=lambda unit: (done[unit], unit))
    ]
    return units, len(items_of)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _groups(folder: TrialFolder, arms: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for arm in sorted(arms - {REFERENCES_ARM}):
        if folder.samples(arm).exists():
            rows = read_rows(folder.samples(arm), Sample)
            found |= {row.prompt_id: f"group {row.group}" for row in rows if row.group is not None}
    return found


def _pairs(units: Sequence[Mapping[str, float]], *, arms: Sequence[str]) -> dict[Pair, list[float]]:
    """Every two arms' differences, unit by unit."""
    return {
        (a, b): [unit[a] - unit[b] for unit in units if a in unit and b in unit]
        for a, b in itertools.combinations(arms, 2)
    }


def _looked_at(folder: TrialFolder) -> tuple[dict[Pair, list[float]], int, int, dict[str, float]] | None:
    """The pairs' differences, the units done and set aside, and the rule; None where none is declared."""
    settings = grading_state(folder).settings
    if settings is None or settings.stopping is None:
        return None
    units, of = _done_units(folder, read_sealed_key(folder).items)
    arms = [arm for arm in settings.arms if arm != REFERENCES_ARM]
    return _pairs(units, arms=arms), len(units), of, settings.stopping


def grading_stand(folder: TrialFolder) -> GradingStand | None:
    """Whether what is graded is enough; None where the trial declares no stopping.

    Alpha is shared among the pairs of arms (Bonferroni), so that a false alarm on any of them has probability
    alpha.
    """
    events = grading_state(folder).events
    looked_at = _looked_at(folder)
    if looked_at is None:
        return None
    pairs, done, of, rule = looked_at
    alpha = rule["alpha"] / max(1, len(pairs))
    stand = stand_of([any_time(gaps, margin=rule["margin"], alpha=alpha) for gaps in pairs.values()])
    return GradingStand(stand.enough, stand.prompts_more, done, of, events)


def any_time_comparisons(folder: TrialFolder, *, confirmatory: bool) -> tuple[Comparison, ...]:
    """Every two arms by the e-process, as records that a verdict rests on; empty where no stopping is declared.

    The fixed-size interval does not hold after stopping early, so there is none.
    """
    looked_at = _looked_at(folder)
    if looked_at is None:
        return ()
    pairs, _, of, rule = looked_at
    found = {pair: any_time(gaps, margin=rule["margin"], alpha=rule["alpha"]) for pair, gaps in pairs.items()}
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
        for (a, b), gaps in pairs.items()
    )


def _two_sided(row: AnyTime) -> float | None:
    if row.p_better is None or row.p_worse is None:
        return None
    return min(1.0, 2 * min(row.p_better, row.p_worse))
