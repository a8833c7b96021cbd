"""Audit a model judge against the people of the same trial: how far it may be believed, and where it leans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.evidence.judge_material import JudgeMaterial, Unit, good_or_bad
from finetrial.stats.agreement import Agreement, cohen_kappa, krippendorff_alpha, raw_agreement
from finetrial.stats.intervals import t_quantile, wilson_interval
from finetrial.stats.prediction_powered import padded_interval
from finetrial.stats.replacing_annotators import ReplacementTest, replacement_test
from finetrial.stats.significance import holm, sign_flip_test
from finetrial.store.grade_records import PairValue, RatersWord
from finetrial.store.model_answers import Order
from finetrial.trial.judge_questions import Judged

UNAUDITED = "unaudited: no person graded a text that the judge graded"


@dataclass(frozen=True, slots=True)
class Rate:
    """k of n with Wilson's bounds; None where n is 0."""

    hits: int
    of: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        return self.hits / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Slope:
    """How much a grade rises when a text is twice as long, within a prompt; None is explained by `reason`."""

    value: float | None
    low: float | None
    high: float | None
    n_texts: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over units with its 95 % interval; None: too few units for one."""

    mean: float
    low: float | None
    high: float | None
    n_units: int


@dataclass(frozen=True, slots=True)
class ArmError:
    """How much too well the judge thinks of one arm, by people's grades: the mean over units of judge - people."""

    arm: str
    error: Mean


@dataclass(frozen=True, slots=True)
class PairBias:
    """The judge's difference between two arms minus people's, over the units that both graded."""

    a: str
    b: str
    bias: Mean
    p: float | None  # that it is none, by sign flips
    p_holm: float | None  # over all pairs


@dataclass(frozen=True, slots=True)
class JudgeAudit:
    """One judge beside people. Without people's grades on its texts `reason` says that it is unaudited."""

    name: str
    model: str
    scale: str
    questions: int
    answered: int
    unreadable: int
    requests: int
    money: float | None
    n_texts: int  # that both people and the judge graded; of a judge of pairs, the pairs
    raw: Agreement | None
    alpha: Agreement | None
    kappa: Agreement | None
    sensitivity: Rate | None  # of the texts that people call good, those that the judge calls good
    specificity: Rate | None
    switches: Rate | None  # pairs on which the two orders disagree; None: single texts, or one order alone
    first_shown: Rate | None  # of these, those in which the text shown first was taken both times
    length_slope: Slope | None
    people_length_slope: Slope | None
    arm_errors: tuple[ArmError, ...]
    pair_biases: tuple[PairBias, ...]
    same_family: tuple[str, ...]  # arms whose model is of the judge's family
    family: str | None
    replacement: ReplacementTest | None
    raters: RatersWord  # who it is held to: people, unless stand-ins graded in their place
    reason: str | None = None

    @property
    def audited(self) -> bool:
        return self.reason is None

    @property
    def leans(self) -> tuple[PairBias, ...]:
        """The pairs of arms between which its error is shown to differ."""
        return tuple(row for row in self.pair_biases if row.p_holm is not None and row.p_holm < 0.05)


def _rate(hits: int, of: int) -> Rate:
    bounds = wilson_interval(hits, of)
    return Rate(hits, of, bounds.low, bounds.high)


def audit(
    material: JudgeMaterial,
    *,
    name: str,
    model: str,
    scale: str,
    judged: Judged,
    requests: int,
    money: float | None,
    family: str | None,
    families: Mapping[str, str | None],
    seed: int,
) -> JudgeAudit:
    """Everything that the trial's people say of one judge. `families` names that of each arm's model."""
    is_pairs = scale == "pairs"
    rows = _pair_ratings(material) if is_pairs else [(str(int(p)), str(int(j))) for p, j in material.texts()]
    people, judge = [p for p, _ in rows], [j for _, j in rows]
    texts = [] if is_pairs else material.texts()
    switched = [row for row in judged.pairs.values() if row.switched is not None]
    to_first = sum(_took_first_shown(row.by_order) for row in switched if row.switched)
    n_switched = sum(bool(row.switched) for row in switched)
    biases = _pair_biases(material, seed=seed)
    return JudgeAudit(
        name=name,
        model=model,
        scale=scale,
        questions=judged.questions,
        answered=judged.answered,
        unreadable=judged.unreadable,
        requests=requests,
        money=money,
        n_texts=len(rows),
        raw=raw_agreement([people, judge]) if rows else None,
        alpha=krippendorff_alpha([people, judge]) if rows else None,
        kappa=cohen_kappa(people, judge) if rows else None,
        sensitivity=_share_of(texts, people=1.0) if texts else None,
        specificity=_share_of(texts, people=0.0) if texts else None,
        switches=_rate(n_switched, len(switched)) if switched else None,
        first_shown=_rate(to_first, n_switched) if n_switched else None,
        length_slope=_pair_length_slope(material) if is_pairs else _length_slope(material, material.judge),
        people_length_slope=_length_slope(material, material.people) if material.people else None,
        arm_errors=() if is_pairs else _arm_errors(material),
        pair_biases=biases,
        same_family=tuple(arm for arm, of in families.items() if family is not None and of == family),
        family=family,
        replacement=None if is_pairs or not rows else _replacement(material),
        raters=material.raters,
        reason=None if rows else UNAUDITED,
    )


def _share_of(texts: Sequence[tuple[float, float]], *, people: float) -> Rate:
    said = [judge for person, judge in texts if person == people]
    return _rate(sum(judge == people for judge in said), len(said))


def _took_first_shown(by_order: Mapping[Order, PairValue]) -> bool:
    """Whether a pair's first-shown text won in both orders."""
    return by_order.get("first") == "first" and by_order.get("second") == "second"


def _pair_ratings(material: JudgeMaterial) -> list[tuple[str, str]]:
    """People's choice, as their grades of the two texts imply it, beside the judge's."""
    found: list[tuple[str, str]] = []
    for pair in material.pairs:
        if pair.rater is None or pair.sample_a not in material.people or pair.sample_b not in material.people:
            continue
        gap = material.people[pair.sample_a] - material.people[pair.sample_b]
        found.append(("a" if gap > 0 else "b" if gap < 0 else "tie", pair.winner))
    return found


def _replacement(material: JudgeMaterial) -> ReplacementTest:
    judge = {material.text_of[sample_id]: good_or_bad(grade) for sample_id, grade in material.judge.items()}
    return replacement_test(material.by_rater, judge)


def _length(text: str) -> float:
    """log2 of the words, one more than there are: an empty text has a length too."""
    return math.log2(len(text.split()) + 1)


def _length_slope(material: JudgeMaterial, grades: Mapping[str, float]) -> Slope:
    """The slope of a grade on log2 of the words, each prompt about its own means; bounds by leaving out units."""
    rows: dict[str, dict[str, tuple[float, float, Unit]]] = {}
    for sample_id, grade in grades.items():
        sample = material.samples[sample_id]
        texts = rows.setdefault(sample.prompt_id, {})
        texts[sample.text] = (_length(sample.text), grade, material.unit(sample_id))
    points: dict[Unit, list[tuple[float, float]]] = {}
    for texts in rows.values():
        x0 = math.fsum(x for x, _, _ in texts.values()) / len(texts)
        y0 = math.fsum(y for _, y, _ in texts.values()) / len(texts)
        for x, y, unit in texts.values():
            points.setdefault(unit, []).append((x - x0, y - y0))
    return _slope(points)


def _pair_length_slope(material: JudgeMaterial) -> Slope:
    """The slope of winning on the difference of log2 lengths, through the origin."""
    points: dict[Unit, list[tuple[float, float]]] = {}
    for pair in material.pairs:
        if pair.rater is not None and pair.sample_a in material.samples and pair.sample_b in material.samples:
            a, b = material.samples[pair.sample_a], material.samples[pair.sample_b]
            won = {"a": 0.5, "b": -0.5, "tie": 0.0}[pair.winner]
            points.setdefault(material.unit(a.id), []).append((_length(a.text) - _length(b.text), won))
    return _slope(points)


def _slope(points: Mapping[Unit, Sequence[tuple[float, float]]]) -> Slope:
    sums = np.array([[sum(x * y for x, y in row), sum(x * x for x, _ in row)] for row in points.values()])
    n_texts, n = sum(map(len, points.values())), len(points)
    if n < 3:
        return Slope(None, None, None, n_texts, "fewer than three units were graded")
    joint, spread = sums.sum(axis=0)
    left = spread - sums[:, 1]
    if left.min() <= 1e-12:
        return Slope(None, None, None, n_texts, "the texts of a prompt do not differ in length")
    value = joint / spread
    pseudo = n * value - (n - 1) * (joint - sums[:, 0]) / left
    reach = t_quantile(0.975, degrees=n - 1) * math.sqrt(pseudo.var(ddof=1) / n)
    return Slope(float(value), float(value - reach), float(value + reach), n_texts)


def _arm_errors(material: JudgeMaterial) -> tuple[ArmError, ...]:
    found = []
    for arm in material.arms:
        by_unit: dict[Unit, list[float]] = {}
        for sample_id, grade in material.people.items():
            if sample_id in material.judge and material.samples[sample_id].arm == arm:
                by_unit.setdefault(material.unit(sample_id), []).append(material.judge[sample_id] - grade)
        errors = [math.fsum(row) / len(row) for row in by_unit.values()]
        if errors:
            found.append(ArmError(arm, _mean_of(errors, most=1.0)))
    return tuple(found)


def _mean_of(values: Sequence[float], *, most: float) -> Mean:
    """A mean over units of values between -most and most."""
    bounds = padded_interval(values, most=most)
    mean = math.fsum(values) / len(values)
    return Mean(mean, None, None, len(values)) if bounds is None else Mean(*bounds, len(values))


def _pair_biases(material: JudgeMaterial, *, seed: int) -> tuple[PairBias, ...]:
    rows = []
    for a, b in itertools.combinations(material.arms, 2):
        people, judge = material.people_gaps(a, b), material.judge_gaps(a, b)
        gaps = [judge[unit] - people[unit] for unit in people if unit in judge]
        if gaps:
            rows.append((a, b, _mean_of(gaps, most=2.0), sign_flip_test(gaps, seed=seed).p))
    corrected = holm([p for *_, p in rows])
    return tuple(PairBias(a, b, bias, p, q) for (a, b, bias, p), q in zip(rows, corrected, strict=True))
