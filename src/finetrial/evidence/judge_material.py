"""Join what a model judge and people said of the same samples, by text, by pair and by unit."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.score_table import as_number
from finetrial.store.grade_records import (
    MODEL,
    RaterKind,
    RatersWord,
    UnblindedGrade,
    UnblindedPair,
    raters_word,
)
from finetrial.store.records import Sample
from finetrial.trial.set_aside import FIVE

Unit = tuple[str, str]  # ("prompt", id) or ("group", name)
_MOST = float(len(FIVE.labels) - 1)


@dataclass(frozen=True, slots=True)
class JudgeMaterial:
    """The samples of one trial with a judge's grades and people's. Grades are numbers from 0, bad, to 1, good."""

    samples: Mapping[str, Sample]
    judge: Mapping[str, float]  # by sample; empty for a judge of pairs
    pairs: tuple[UnblindedPair, ...]  # the judge's choices; empty for a judge of single texts
    people: Mapping[str, float]  # by sample, the mean over raters; what nobody could tell is left out
    by_rater: Mapping[str, Mapping[str, float]]  # each person's, by text
    text_of: Mapping[str, str]  # by sample, the name of its text, which equal texts of one prompt share
    raters: RatersWord  # what those whose grades stand under `people` are called

    def unit(self, sample_id: str) -> Unit:
        sample = self.samples[sample_id]
        return ("prompt", sample.prompt_id) if sample.group is None else ("group", sample.group)

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sample.arm for sample in self.samples.values()))

    def texts(self) -> tuple[tuple[float, float], ...]:
        """(people, judge) for each text that both graded, people by majority and the judge as good or bad.

        Equal texts of one prompt are one; an even vote of people says nothing and is left out.
        """
        found: dict[str, tuple[float, float]] = {}
        for sample_id, grade in self.people.items():
            if sample_id in self.judge and grade != 0.5:
                found[self.text_of[sample_id]] = (float(grade > 0.5), good_or_bad(self.judge[sample_id]))
        return tuple(found.values())

    def people_gaps(self, a: str, b: str) -> dict[Unit, float]:
        """People's a - b by unit, where they graded both arms."""
        return self._gaps(self.people, a, b)

    def judge_gaps(self, a: str, b: str) -> dict[Unit, float]:
        """The judge's a - b by unit: of its grades, or of its choices, a win 1 and a loss -1."""
        if not self.pairs:
            return self._gaps(self.judge, a, b)
        by_prompt: dict[tuple[Unit, str], list[float]] = defaultdict(list)
        for pair in self.pairs:
            if {pair.arm_a, pair.arm_b} == {a, b} and pair.sample_a in self.samples:
                won = {"a": 1.0, "b": -1.0, "tie": 0.0}[pair.winner]
                by_prompt[self.unit(pair.sample_a), pair.prompt_id].append(won if pair.arm_a == a else -won)
        return _by_unit({key: _mean(row) for key, row in by_prompt.items()})

    def _gaps(self, grades: Mapping[str, float], a: str, b: str) -> dict[Unit, float]:
        cells: dict[tuple[Unit, str], dict[str, list[float]]] = defaultdict(lambda: {a: [], b: []})
        for sample_id, grade in grades.items():
            sample = self.samples[sample_id]
            if sample.arm in (a, b):
                cells[self.unit(sample_id), sample.prompt_id][sample.arm].append(grade)
        return _by_unit({key: _mean(row[a]) - _mean(row[b]) for key, row in cells.items() if row[a] and row[b]})


def good_or_bad(grade: float) -> float:
    """A grade as good (1) or bad (0): of five, 4 and 5 are good."""
    return float(grade >= (int(FIVE.good[0]) - 1) / _MOST)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _by_unit(gaps: Mapping[tuple[Unit, str], float]) -> dict[Unit, float]:
    """One value a unit: the mean over the prompts of a group."""
    rows: dict[Unit, list[float]] = defaultdict(list)
    for (unit, _), gap in sorted(gaps.items()):
        rows[unit].append(gap)
    return {unit: _mean(row) for unit, row in sorted(rows.items())}


def as_judged(value: str | None, label: str | None) -> float | None:
    """A judge's grade as a number from 0 to 1, its labels 1 to 5 as fifths; None: it could not tell."""
    if label in FIVE.labels:
        return (int(label) - 1) / _MOST
    return None if value is None else as_number(value)


def _number(grade: UnblindedGrade) -> float | None:
    return as_judged(grade.value, grade.label) if grade.rater_kind == MODEL else as_number(grade.value)


def judge_material(
    name: str,
    *,
    samples: Iterable[Sample],
    grades: Sequence[UnblindedGrade],
    pairs: Sequence[UnblindedPair],
) -> JudgeMaterial:
    """The judge of this name beside all people. `grades` and `pairs` are everybody's."""
    of = {sample.id: sample for sample in samples if not sample.run}
    text_of = {sample.id: f"{sample.prompt_id}\0{sample.text}" for sample in of.values()}
    judge: dict[str, float] = {}
    votes: dict[str, list[float]] = defaultdict(list)
    by_rater: dict[str, dict[str, float]] = defaultdict(dict)
    kinds: set[RaterKind | None] = set()
    for grade in grades:
        value = _number(grade)
        if value is None or grade.sample_id not in of:
            continue
        if grade.rater_kind == MODEL:
            if grade.rater == name:
                judge[grade.sample_id] = value
        else:
            kinds.add(grade.rater_kind)
            votes[grade.sample_id].append(value)
            by_rater[grade.rater][text_of[grade.sample_id]] = value
    mine = [pair for pair in pairs if pair.rater == name and pair.rater_kind == MODEL]
    asked = {frozenset((pair.arm_a, pair.arm_b)) for pair in mine}
    ties = [p for p in pairs if p.rater is None and frozenset((p.arm_a, p.arm_b)) in asked]  # equal texts
    people = {sample_id: _mean(row) for sample_id, row in votes.items()}
    return JudgeMaterial(of, judge, tuple(mine + ties), people, by_rater, text_of, raters_word(kinds))
