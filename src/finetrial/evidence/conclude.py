"""Join samples, scores and grades into findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetrial.evidence.arm_comparisons import (
    arm_intervals,
    pairs_on_new_prompts,
    pairs_on_these_prompts,
    pairs_retrained,
    powers,
    prompts_to_settle,
)
from finetrial.evidence.cost import CostOrder
from finetrial.evidence.data_warnings import data_warnings, graded_twice, unseen_letters
from finetrial.evidence.equivalence import DeployedAs, deployed_forms
from finetrial.evidence.findings import Costs, Diagnostic, Findings, Floor, MetricVsPeople
from finetrial.evidence.floor import OtherReferences, compare_with_floor
from finetrial.evidence.good_grid import good_grid
from finetrial.evidence.grade_statistics import good_of_each_arm, metric_vs_people, rater_agreement
from finetrial.evidence.judged_verdict import JudgeFinding, as_comparisons
from finetrial.evidence.pairs import Pairs
from finetrial.evidence.phrases import possessive
from finetrial.evidence.recommend import recommend
from finetrial.evidence.score_table import Distinct, RatedSample, Table, build_table, without_copies
from finetrial.evidence.slices import slices_by
from finetrial.evidence.two_verdicts import against_grades, beside_verdict
from finetrial.evidence.verdict import Basis, verdict
from finetrial.evidence.verdict_warnings import verdict_warnings
from finetrial.evidence.whole_arm import ArmOutputs, details, whole_arm_intervals, whole_arm_pairs
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric import ArmMetric, Direction, Metric, Settings
from finetrial.metrics.metric_table import metric_named
from finetrial.stats.comparison import Comparison, Question
from finetrial.store.records import Sample, Score


@dataclass(frozen=True, slots=True)
class AnalysisSettings:
    """What was decided apart from the samples: how to judge, what arms cost, and what is known of them."""

    primary: str
    named: str | None = None  # the primary when the first samples were seen; None: nobody noted it
    margin: float = 0.02
    metrics: Sequence[str] = ()  # their order; others that were scored follow
    scoring: Settings = field(default_factory=Settings)  # what decides a score besides the texts
    arms: Sequence[str] | None = None  # their order
    order: CostOrder | None = None  # of the arms by cost
    costs: Costs | None = None
    other_references: OtherReferences | None = None  # as answers; None: not defined for the primary
    floor: Floor | None = None  # as somebody else computed it, in place of other_references
    at_default_rate: Sequence[str] = ()  # arms tuned at a learning rate that was neither searched nor given
    external: Sequence[str] = ()  # arms whose training rows are not known
    unanswered: Mapping[str, Sequence[str]] = field(default_factory=dict)  # arm -> prompts without its answer
    deployed: Mapping[str, DeployedAs] = field(default_factory=dict)  # arms that are another's deployed form
    base_unknown: Mapping[str, str] = field(default_factory=dict)  # arm -> why its adapter's base may be another
    failed_checks: Mapping[str, Sequence[str]] = field(default_factory=dict)  # arm -> what, before it was sampled
    trained: Collection[str] | None = None  # arms whose weights were tuned; None: not known
    lower_is_better: Collection[str] = ()
    exploratory: tuple[str, ...] = ()  # what was changed after the first scores, in words
    hidden: Collection[str] = ()  # prompts that await blind grades: none of their texts may be quoted
    has_texts: bool = True  # False: a table of values from elsewhere
    contents: Mapping[str, Hashable] | None = None  # of a file: all that each row holds
    runs: Mapping[str, str] = field(default_factory=dict)  # sample id -> the training run that wrote it
    warnings: tuple[str, ...] = ()  # what reading the records already found
    any_time: tuple[Comparison, ...] = ()  # of people's grades, where grading could stop at any time
    judge: JudgeFinding | None = None  # whose grades help people's to the verdict; None: people alone give it
    slices: Sequence[str] = ()  # columns by which the prompts are cut into parts
    seed: int = 0

    def metric(self, name: str) -> Metric:
        """The metric of this name, turned round where the user says that lower is better."""
        return metric_named(name, lower_is_better=self.lower_is_better)


def _merged(grades: Sequence[RatedSample], *, distinct: Distinct) -> tuple[RatedSample, ...]:
    """The grades of the samples that count: a copy's grade is its original's, and a rater grades a sample once."""
    first: dict[tuple[str, str], RatedSample] = {}
    for grade in grades:
        sample_id = distinct.kept_for.get(grade.sample_id, grade.sample_id)
        first.setdefault((sample_id, grade.rater), replace(grade, sample_id=sample_id))
    return tuple(first.values())


def _twice(grades: Sequence[RatedSample]) -> str | None:
    return graded_twice(Counter((grade.sample_id, grade.rater) for grade in grades))


def _metric_order(table: Table, setting: AnalysisSettings) -> tuple[Metric, ...]:
    listed = dict.fromkeys((setting.primary, *setting.metrics, *table.values))
    found = (_bounded(setting.metric(name), table=table) for name in listed)
    return tuple(m for m in found if m.name in table.values or (isinstance(m, ArmMetric) and setting.has_texts))


def _bounded(metric: Metric, *, table: Table) -> Metric:
    """The metric with the bounds of a share where it names none and its values are all 0 or 1.

    Grades that are numbers on a scale have no bounds that are known here.
    """
    if metric.bounds is not None and metric.name != GRADE:
        return metric
    cells = (row for arms in table.values.get(metric.name, {}).values() for row in arms.values())
    values = {value for row in cells for value in row if value is not None}
    if metric.name == GRADE:
        inside = all(0.0 <= value <= 1.0 for value in values)
        return replace(metric, bounds=(0.0, 1.0) if inside else None)
    return replace(metric, bounds=(0.0, 1.0)) if values and values <= {0.0, 1.0} else metric


def _all_pairs(
    table: Table, outputs: ArmOutputs, *, metrics: Sequence[Metric], setting: AnalysisSettings
) -> tuple[Comparison, ...]:
    """The primary's pairs and the grades' by all three questions, then the others' on new prompts.

    A metric of whole arms is compared on new prompts only.
    """
    found: list[Comparison] = []
    for metric in metrics:
        is_primary = metric.name == setting.primary
        confirmatory = is_primary and not setting.exploratory
        if isinstance(metric, ArmMetric):
            found += whole_arm_pairs(
                outputs, metric=metric, settings=setting.scoring, confirmatory=confirmatory, seed=setting.seed
            )
            continue
        if metric.name == GRADE and setting.any_time:
            found += [replace(pair, confirmatory=confirmatory) for pair in setting.any_time]
        elif metric.name == GRADE and setting.judge is not None:
            found += as_comparisons(setting.judge.pairs, confirmatory=confirmatory)
        else:
            found += pairs_on_new_prompts(table, metric=metric, confirmatory=confirmatory, seed=setting.seed)
        if is_primary or metric.name == GRADE:
            found += pairs_on_these_prompts(table, metric=metric, confirmatory=confirmatory, seed=setting.seed)
            found += pairs_retrained(table, metric=metric, confirmatory=confirmatory)
    return tuple(found)


def _shown(diagnostics: Sequence[Diagnostic], *, hidden: Collection[str]) -> tuple[Diagnostic, ...]:
    """The diagnostics without quotes from prompts that await grades."""
    return tuple(
        replace(row, examples=tuple(e for e in row.examples if e.prompt_id not in hidden)) for row in diagnostics
    )


def conclude(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    *,
    setting: AnalysisSettings,
    grades: Sequence[RatedSample] = (),
    diagnostics: Sequence[Diagnostic] = (),
    references: Sequence[Sample] = (),
) -> Findings:
    """Everything that samples, scores and open grades support, and what they do not.

    `references` were mixed into the grading: their good answers are counted, and nothing else is. The order of
    samples changes nothing; a file that was pasted twice is counted once.
    """
    if not samples:
        return Findings(verdict="Cannot tell: there are no samples.", primary=setting.primary)
    distinct = without_copies(samples, contents=setting.contents)
    kept = distinct.samples
    counted = _merged(grades, distinct=distinct)
    table = build_table(kept, scores, grades=counted, runs=setting.runs, arms=setting.arms)
    metrics = _metric_order(table, setting)
    whole_arm = [metric for metric in metrics if isinstance(metric, ArmMetric)]
    outputs = ArmOutputs.of(kept if whole_arm else (), arms=table.arms)
    compared = table.without(setting.deployed)
    compared_outputs = ArmOutputs.of(kept if whole_arm else (), arms=compared.arms)
    pairs = tuple(
        pair
        for pair in _all_pairs(compared, compared_outputs, metrics=metrics, setting=setting)
        if not setting.deployed.keys() & set(pair.arms)
    )
    intervals = {
        metric.name: whole_arm_intervals(outputs, metric=metric, settings=setting.scoring, seed=setting.seed)
        if isinstance(metric, ArmMetric)
        else arm_intervals(table, metric=metric, seed=setting.seed)
        for metric in metrics
    }
    primary = setting.metric(setting.primary)

    def basis_of(metric: Metric) -> Basis:
        """What a verdict by this metric rests on."""
        of = {
            question: Pairs(tuple(p for p in pairs if p.metric == metric.name and p.question is question))
            for question in Question
        }
        return Basis(
            metric=metric,
            intervals={a: row for a, row in intervals.get(metric.name, {}).items() if a not in setting.deployed},
            new=of[Question.NEW],
            these=of[Question.THESE],
            retrained=of[Question.RETRAINED],
            powers=powers(compared, pairs=of[Question.NEW].all),
            trained=setting.trained,
            unit=table.unit,
            unsure=sum(grade.value == "unsure" for grade in counted),
            repeated=[arm for arm, runs in table.runs.items() if len(runs) > 1],
        )

    basis = basis_of(primary)
    new = basis.new
    people = _people(kept, scores, counted, metrics=metrics, setting=setting)
    other = _beside(metrics, primary=primary) if counted else None
    beside = None if other is None else basis_of(other)
    judged = (*kept, *references)
    good = good_of_each_arm(judged, counted, has_texts=setting.has_texts)

    def settle(pair: Comparison, distance: float) -> int | None:
        return prompts_to_settle(table, pair=pair, distance=distance, n_pairs=len(new.all))

    found = data_warnings(
        kept,
        scores,
        table=table,
        distinct=distinct,
        metrics=metrics,
        scoring=setting.scoring,
        has_texts=setting.has_texts,
    )
    deciding = unseen_letters(kept, metrics=(primary,), scoring=setting.scoring) if setting.has_texts else ()
    floor = setting.floor
    if setting.other_references is not None:
        floor = compare_with_floor(
            setting.other_references, intervals=basis.intervals, margin=setting.margin, sign=primary.factor
        )
    recommended = recommend(
        basis, margin=setting.margin, costs=setting.order, people=people, settle=settle, floor=floor
    )
    if beside is not None and beside.metric.name == GRADE:
        recommended = against_grades(recommended, decides=basis, grades=beside, good=good)
    twice = () if distinct.times > 1 else tuple(filter(None, [_twice(grades)]))
    return Findings(
        verdict=verdict(basis) + _how_counted(setting),
        beside=None
        if beside is None
        else beside_verdict(basis, beside, named=setting.named == beside.metric.name, people=people),
        verdict_warnings=verdict_warnings(
            kept,
            metric=setting.primary,
            sign=primary.factor,
            intervals=basis.intervals,
            unseen=" ".join(deciding) or None,
            floor=floor,
            exploratory=setting.exploratory,
            at_default_rate=setting.at_default_rate,
            external=setting.external,
            base_unknown=setting.base_unknown,
            unanswered=setting.unanswered,
            failed_checks=setting.failed_checks,
        ),
        recommendation=recommended,
        intervals=intervals,
        pairs=pairs,
        good=good,
        good_grid=good_grid(judged, counted),
        agreement=rater_agreement(kept, counted),
        metric_vs_people=people,
        diagnostics=_shown(diagnostics, hidden=setting.hidden),
        power=tuple(basis.powers),
        slices=slices_by(
            setting.slices, samples=kept, table=compared, metric=_bounded(primary, table=table), seed=setting.seed
        ),
        deployed=deployed_forms(table, kept, forms=setting.deployed, metric=primary, seed=setting.seed),
        floor=floor,
        costs=setting.costs,
        warnings=(*setting.warnings, *(text for text in found if text not in deciding), *twice),
        signatures=_signatures(scores, metrics=metrics, scoring=setting.scoring),
        details=details(outputs, metrics=whole_arm, settings=setting.scoring),
        primary=setting.primary,
        exploratory=setting.exploratory,
    )


def _beside(metrics: Sequence[Metric], *, primary: Metric) -> Metric | None:
    """What stands beside the primary where people graded: their grades; beside these a metric."""
    if primary.name != GRADE:
        return next((metric for metric in metrics if metric.name == GRADE), None)
    judging = (m for m in metrics if m.name != GRADE and m.direction is not Direction.NEITHER)
    return next(judging, None)


def _how_counted(setting: AnalysisSettings) -> str:
    """The sentence that says how grades were counted, where it was not by people alone and a fixed number."""
    if setting.any_time and setting.primary == GRADE:
        told = (
            " Grading could stop at any time: p is valid however often one looked; a fixed-size interval is not "
            "valid after stopping early."
        )
        if setting.judge is not None:
            helped, whose = setting.judge.audit.name, possessive(setting.judge.audit.raters)
            told += f" The judge {helped} helped {whose} grades to it (prediction-powered e-values)."
        return told
    if setting.judge is None or setting.primary != GRADE or not setting.judge.pairs:
        return ""
    found, audit = setting.judge.pairs[0].found, setting.judge.audit
    return (
        f" {possessive(audit.raters).capitalize()} grades give it on {found.n_graded} prompts, helped by the judge "
        f"{audit.name} on {found.n_judged_alone} more (PPI++)."
    )


def _signatures(scores: Sequence[Score], *, metrics: Sequence[Metric], scoring: Settings) -> dict[str, str]:
    found = {metric.name: metric.signature(scoring) for metric in metrics if isinstance(metric, ArmMetric)}
    for score in scores:
        found[score.metric] = min(score.signature, found.get(score.metric, score.signature))
    return {metric.name: found[metric.name] for metric in metrics if metric.name in found}


def _people(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    grades: Sequence[RatedSample],
    *,
    metrics: Sequence[Metric],
    setting: AnalysisSettings,
) -> dict[str, MetricVsPeople]:
    """Every metric that judges, beside people's grades."""
    if not grades:
        return {}
    found = {}
    for metric in metrics:
        if metric.name != GRADE and metric.direction is not Direction.NEITHER:
            row = metric_vs_people(samples, scores, grades, metric=metric, seed=setting.seed)
            if row is not None:
                found[metric.name] = row
    return found
