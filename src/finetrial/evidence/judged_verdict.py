"""Compare arms by people's grades with a model judge's help, and report what the judge was worth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetrial.evidence.judge_audit import JudgeAudit
from finetrial.evidence.judge_material import JudgeMaterial, good_or_bad
from finetrial.metrics.mean_grade import GRADE
from finetrial.stats.comparison import Comparison, Question
from finetrial.stats.prediction_powered import Assisted, CorrectedShare, assisted_difference, rogan_gladen
from finetrial.stats.significance import holm


@dataclass(frozen=True, slots=True)
class AssistedPair:
    """Two arms by people's grades and a judge's."""

    a: str
    b: str
    found: Assisted
    p_holm: float | None  # over all pairs
    wins: int  # graded units on which people put a above b
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class ArmShare:
    """An arm's share of good answers as the judge sees it, and corrected for the judge's mistakes."""

    arm: str
    share: CorrectedShare


@dataclass(frozen=True, slots=True)
class JudgeFinding:
    """One judge: its audit, and what arms compare to with its help."""

    audit: JudgeAudit
    pairs: tuple[AssistedPair, ...]
    shares: tuple[ArmShare, ...]  # none for a judge of pairs
    decides: bool  # judging.estimator is people+judge, and this is the first judge


def assisted_pairs(material: JudgeMaterial, *, seed: int) -> tuple[AssistedPair, ...]:
    """Every two arms: people's difference on the units they graded, the judge's on all that it graded."""
    found = []
    for a, b in itertools.combinations(material.arms, 2):
        people, judge = material.people_gaps(a, b), material.judge_gaps(a, b)
        both = [unit for unit in people if unit in judge]
        alone = [gap for unit, gap in judge.items() if unit not in people]
        gaps = [people[unit] for unit in both]
        assisted = assisted_difference(gaps, [judge[unit] for unit in both], alone, seed=seed)
        signs = [sum(g > 0 for g in gaps), sum(g < 0 for g in gaps), sum(g == 0 for g in gaps)]
        found.append(AssistedPair(a, b, assisted, None, *signs))
    corrected = holm([pair.found.p for pair in found])
    return tuple(replace(pair, p_holm=p) for pair, p in zip(found, corrected, strict=True))


def corrected_shares(material: JudgeMaterial) -> tuple[ArmShare, ...]:
    """Rogan and Gladen's share of good answers of every arm, by the judge's rates over all arms."""
    if material.pairs:
        return ()
    texts = material.texts()
    good = [judge for person, judge in texts if person == 1.0]
    bad = [judge for person, judge in texts if person == 0.0]
    found = []
    for arm in material.arms:
        by_unit: dict[tuple[str, str], list[float]] = {}
        for sample_id, grade in material.judge.items():
            if material.samples[sample_id].arm == arm:
                by_unit.setdefault(material.unit(sample_id), []).append(good_or_bad(grade))
        share = rogan_gladen(
            [sum(row) / len(row) for row in by_unit.values()],
            agreed_good=sum(judge == 1.0 for judge in good),
            people_good=len(good),
            agreed_bad=sum(judge == 0.0 for judge in bad),
            people_bad=len(bad),
        )
        found.append(ArmShare(arm, share))
    return tuple(found)


def as_comparisons(pairs: Sequence[AssistedPair], *, confirmatory: bool) -> tuple[Comparison, ...]:
    """The pairs as the records that a verdict rests on."""
    return tuple(
        Comparison(
            question=Question.NEW,
            difference=pair.found.difference,
            low=pair.found.low,
            high=pair.found.high,
            p=pair.found.p,
            level=pair.found.level,
            n_units=pair.found.n_graded,
            n_missing=pair.found.n_judged_alone,
            wins=pair.wins,
            losses=pair.losses,
            ties=pair.ties,
            reason=pair.found.reason,
            a=pair.a,
            b=pair.b,
            metric=GRADE,
            p_over_pairs=pair.p_holm,
            confirmatory=confirmatory,
        )
        for pair in pairs
    )
