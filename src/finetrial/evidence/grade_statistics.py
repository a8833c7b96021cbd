"""Compute the share of good answers, the agreement of raters, and the metric's agreement with them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from finetrial.evidence.findings import Disagreement, GoodShare, Kappa, MetricVsPeople, RaterAgreement
from finetrial.evidence.good_grid import majority
from finetrial.evidence.score_table import RatedSample, as_number, sample_grades
from finetrial.metrics.metric import Metric
from finetrial.stats.agreement import Level, cohen_kappa, gwet_ac1, krippendorff_alpha, raw_agreement
from finetrial.stats.concordance import (
    Judged,
    area_under_curve,
    concordance,
    same_ranking,
    worst_disagreements,
)
from finetrial.stats.intervals import good_of_n
from finetrial.store.records import Sample, Score

WORDS = ("good", "bad", "unsure")


def is_scale(grades: Sequence[RatedSample]) -> bool:
    """Whether the grades are numbers other than 0 and 1, so that there is no good of n."""
    return any(not isinstance(grade.value, str) and grade.value not in (0, 1) for grade in grades)


def _word(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "good" if value else "bad"


def good_of_each_arm(
    samples: Sequence[Sample], grades: Sequence[RatedSample], *, has_texts: bool = True
) -> dict[str, GoodShare]:
    """How many of each arm's samples were called good, by the majority of their raters; even votes count nowhere.

    Equal texts of one prompt and arm are worth one in the effective size, where there are texts. Nothing for grades
    on a scale.
    """
    if is_scale(grades):
        return {}
    balance = majority(grades)
    found = {}
    for arm in dict.fromkeys(sample.arm for sample in samples):
        units: dict[str, list[float]] = defaultdict(list)
        texts = set()
        for sample in samples:
            if sample.arm == arm and balance.get(sample.id):
                units[_unit(sample)].append(float(balance[sample.id] > 0))
                texts.add((sample.prompt_id, sample.text))
        share = good_of_n(units, n_distinct=len(texts) or None if has_texts else None)
        if any(s.arm == arm and s.id in balance for s in samples):
            found[arm] = GoodShare(share.good, share.of, share.low, share.high, share.reason)
    return found


def _unit(sample: Sample) -> str:
    return f"prompt {sample.prompt_id}" if sample.group is None else f"group {sample.group}"


def rater_agreement(samples: Sequence[Sample], grades: Sequence[RatedSample]) -> RaterAgreement | None:
    """How far raters agree over the texts they graded; equal texts of one prompt are one. None without grades."""
    of = {sample.id: (sample.prompt_id, sample.text) for sample in samples}
    scale = is_scale(grades)
    cells: dict[tuple[str, tuple[str, str]], str | float | None] = {}
    for grade in grades:
        if grade.sample_id in of:
            value = as_number(grade.value) if scale else _word(grade.value)
            cells.setdefault((grade.rater, of[grade.sample_id]), value)
    raters, items = sorted({rater for rater, _ in cells}), sorted({item for _, item in cells})
    if not raters:
        return None
    table = [[cells.get((rater, item)) for item in items] for rater in raters]
    level = Level.ORDINAL if scale else Level.NOMINAL
    return RaterAgreement(
        n_raters=len(raters),
        raw=raw_agreement(table),
        krippendorff_alpha=krippendorff_alpha(table, level=level),
        level=level.value,
        gwet_ac1=gwet_ac1(table, categories=None if scale else WORDS),
        cohen_kappa=tuple(
            Kappa(raters[i], raters[j], cohen_kappa(table[i], table[j]))
            for i, j in itertools.combinations(range(len(raters)), 2)
        ),
    )


def metric_vs_people(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    grades: Sequence[RatedSample],
    *,
    metric: Metric,
    seed: int,
) -> MetricVsPeople | None:
    """How far one metric agrees with people. None where no sample has both a score and a grade."""
    graded = sample_grades(grades)
    values = {s.sample_id: s.value for s in scores if s.metric == metric.name and s.value is not None}
    # The prompt's own text, not its number in the file: the order of rows must not move the resampling.
    key = {s.id: s.source if s.source is not None else s.prompt_id for s in samples}
    judged = [
        Judged(s.id, key[s.id], s.arm, metric.factor * values[s.id], graded[s.id])
        for s in samples
        if s.id in graded and s.id in values and abs(values[s.id]) != float("inf")
    ]
    if not judged:
        return None
    of: Mapping[str, Sample] = {sample.id: sample for sample in samples}
    return MetricVsPeople(
        concordance=concordance(judged, seed=seed),
        area_under_curve=area_under_curve(judged, seed=seed),
        ranking=same_ranking(judged, seed=seed),
        disagreements=tuple(
            Disagreement(
                sample_id=row.sample.sample_id,
                prompt_id=of[row.sample.sample_id].prompt_id,
                arm=row.sample.arm,
                score=metric.factor * row.sample.score,
                grade=row.sample.grade,
                gap=row.gap,
            )
            for row in worst_disagreements(judged, most=5)
        ),
    )
