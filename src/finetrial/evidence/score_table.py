"""Arrange scores by metric, arm and prompt, with nothing counted twice.

A file that was pasted twice says no more than once: where all its rows stand k times, k - 1 of the copies are put
aside. Texts that a model gave twice are two samples, and so are all those of an arm that answers alike each time.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from finetrial.metrics.mean_grade import GRADE
from finetrial.store.records import Sample, Score

Value = float | None
# arm -> prompt -> the values of its samples
ArmCells = Mapping[str, Mapping[str, tuple[Value, ...]]]


@dataclass(frozen=True, slots=True)
class RatedSample:
    """One rater's grade of one sample: good, bad, unsure, or a number on a scale."""

    sample_id: str
    rater: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Distinct:
    """Samples without the copies of a file that was pasted several times, and how often it stood."""

    samples: tuple[Sample, ...]
    kept_for: Mapping[str, str]  # the id of a sample put aside -> the id of the one it copies
    times: int  # 1: no copies


def without_copies(samples: Sequence[Sample], *, contents: Mapping[str, Hashable] | None = None) -> Distinct:
    """Put the copies of a whole file aside. `contents` maps sample ids to all that their rows hold.

    None: the samples were drawn here, and none is a copy. Of a file, copies are put aside only where every row of
    every arm stands the same number of times, or a multiple of it: an arm that answers alike each time does not
    make the others' rows stand twice.
    """
    if contents is None:
        return Distinct(tuple(samples), {}, 1)
    rows: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        rows[sample.arm, sample.prompt_id, contents.get(sample.id)].append(sample)
    times = math.gcd(*map(len, rows.values()))
    kept_for: dict[str, str] = {}
    for copies in rows.values():
        n_kept = len(copies) // times
        kept_for |= {s.id: copies[i % n_kept].id for i, s in enumerate(copies) if i >= n_kept}
    kept = tuple(sample for sample in samples if sample.id not in kept_for)
    return Distinct(kept, kept_for, times)


@dataclass(frozen=True, slots=True)
class Table:
    """Every value by metric, arm and prompt. Nothing depends on the order of the samples but the order of names."""

    arms: tuple[str, ...]
    prompts: tuple[str, ...]
    groups: Mapping[str, str | None]  # prompt -> group
    values: Mapping[str, ArmCells]  # metric -> arm -> prompt -> values; () where the arm has no sample there
    runs: Mapping[str, tuple[str, ...]]  # arm -> its training runs; () where nobody said which run wrote what
    by_run: Mapping[str, Mapping[str, ArmCells]]  # metric -> arm -> run -> prompt -> values
    n_samples: Mapping[tuple[str, str], int]  # (arm, prompt)

    @property
    def unit(self) -> str:
        """What has one value per arm: a prompt, or a group of prompts."""
        return "group" if any(group is not None for group in self.groups.values()) else "prompt"

    def without(self, arms: Collection[str]) -> Table:
        """The table without the values of some arms."""
        values = {m: {a: cells for a, cells in row.items() if a not in arms} for m, row in self.values.items()}
        by_run = {m: {a: cells for a, cells in row.items() if a not in arms} for m, row in self.by_run.items()}
        return replace(self, arms=tuple(a for a in self.arms if a not in arms), values=values, by_run=by_run)

    def rows(self, metric: str, arm: str) -> list[tuple[Value, ...]]:
        """One row of values per prompt, in the prompts' order."""
        return [self.values[metric][arm].get(prompt, ()) for prompt in self.prompts]


def sample_grades(grades: Iterable[RatedSample]) -> dict[str, float]:
    """Each sample's mean grade over its raters, good 1 and bad 0; samples that nobody could judge are left out."""
    votes: dict[str, list[float]] = defaultdict(list)
    for grade in grades:
        value = as_number(grade.value)
        if value is not None:
            votes[grade.sample_id].append(value)
    return {sample_id: math.fsum(row) / len(row) for sample_id, row in votes.items()}


def grade_scores(grades: Iterable[RatedSample]) -> list[Score]:
    """Each graded sample's mean grade as a score of the metric `grade`."""
    return [Score(sample_id, GRADE, value, GRADE) for sample_id, value in sample_grades(grades).items()]


def as_number(value: str | float) -> float | None:
    """A grade as a number: good 1, bad 0, a number itself; None for unsure."""
    if isinstance(value, str):
        return {"good": 1.0, "bad": 0.0}.get(value)
    return float(value)


def build_table(
    samples: Sequence[Sample],
    scores: Iterable[Score],
    *,
    grades: Iterable[RatedSample] = (),
    runs: Mapping[str, str] | None = None,
    arms: Sequence[str] | None = None,
) -> Table:
    """The values of these samples; scores of other samples are left out. `arms` sets their order.

    Grades become the metric `grade`, a sample's mean over its raters.
    """
    runs = runs or {}
    of = {sample.id: sample for sample in samples}
    present = dict.fromkeys(sample.arm for sample in samples)
    ordered = tuple(arm for arm in (arms or present) if arm in present)
    values: dict[str, dict[str, dict[str, list[Value]]]] = {}
    by_run: dict[str, dict[str, dict[str, dict[str, list[Value]]]]] = {}
    for score in (*scores, *grade_scores(grades)):
        sample = of.get(score.sample_id)
        if sample is None:
            continue
        by_arm = values.setdefault(score.metric, {arm: defaultdict(list) for arm in ordered})
        by_arm[sample.arm][sample.prompt_id].append(score.value)
        if (run := runs.get(sample.id)) is not None:
            of_arm = by_run.setdefault(score.metric, {}).setdefault(sample.arm, {})
            of_arm.setdefault(run, defaultdict(list))[sample.prompt_id].append(score.value)
    names: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.id in runs:
            names[sample.arm].add(runs[sample.id])
    return Table(
        arms=ordered,
        prompts=tuple(sorted({sample.prompt_id for sample in samples})),
        groups={sample.prompt_id: sample.group for sample in samples},
        values={metric: {arm: _frozen(cells) for arm, cells in row.items()} for metric, row in values.items()},
        runs={arm: tuple(sorted(found)) for arm, found in names.items()},
        by_run={
            metric: {arm: {run: _frozen(cells) for run, cells in row.items()} for arm, row in by_arm.items()}
            for metric, by_arm in by_run.items()
        },
        n_samples=Counter((sample.arm, sample.prompt_id) for sample in samples),
    )


def _frozen(cells: Mapping[str, list[Value]]) -> dict[str, tuple[Value, ...]]:
    return {prompt: tuple(row) for prompt, row in cells.items()}
