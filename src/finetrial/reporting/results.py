"""Gather every number of a report from a trial's records. The document's sections are made from them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.findings import Findings
from finetrial.evidence.grading_progress import GradingProgress
from finetrial.evidence.run_means import run_means
from finetrial.evidence.sample_scores import arm_means, prompt_means, scoring_settings
from finetrial.evidence.score_table import RatedSample, grade_scores
from finetrial.evidence.trial_findings import open_grades_of
from finetrial.evidence.whole_arm import whole_arm_means
from finetrial.methods.method import Method
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric import ArmMetric
from finetrial.metrics.metric_table import metric_name, metric_named
from finetrial.reporting.answer import plain_answer
from finetrial.reporting.describe import data_findings, failures
from finetrial.reporting.gather import ArmRecords, TrialRecords
from finetrial.reporting.unfinished import unfinished
from finetrial.store.grade_records import MODEL
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Score, TrainingPoint
from finetrial.store.search import RateSearch
from finetrial.units import listing

RESULTS_VERSION = 2  # of results.json; since 2 it holds every section and says which finetrial wrote it


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm: what it is, what it cost, how its samples ended."""

    name: str
    method: Method
    description: str
    base: str | None  # that it starts from, where that is not the trial's model
    slot: int  # its colour: 0 is the base, the others count from 1 in the trial file's order
    measured: Measured | None
    planned: Mapping[str, Any]
    points: tuple[TrainingPoint, ...]
    more_runs: tuple[Measured, ...]  # of the training runs after the first, which the other figures are of
    search: RateSearch | None  # for the learning rate
    n_samples: int
    endings: Mapping[str, int]  # end reason -> samples
    mean_tokens: float | None  # generated a sample
    mean_stripped: float | None  # of these, what sampling.strip took off

    @property
    def trained_share(self) -> float | None:
        """Trained parameters over all; the rows of new special tokens are counted apart."""
        if self.measured is None or not self.measured.total_parameters:
            return None
        return self.measured.trained_parameters / self.measured.total_parameters

    @property
    def heldout_losses(self) -> tuple[float, ...]:
        """Of every training run that has one."""
        every = (self.measured, *self.more_runs)
        return tuple(row.heldout_loss for row in every if row is not None and row.heldout_loss is not None)

    @property
    def truncated_share(self) -> float | None:
        """The share of samples that stopped at the limit of new tokens; None where no ending was recorded."""
        known = sum(self.endings.values())
        return self.endings.get("length", 0) / known if known else None


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm's score by one metric."""

    mean: float | None
    n_prompts: int
    n_samples: int
    low: float | None
    high: float | None
    to_base: float | None  # mean minus the base arm's; None for the base itself
    runs: tuple[float, ...]  # the mean of each training run, where there are several
    best: bool  # the best mean, alone or shared; none is marked where all are equal or no mean is better


@dataclass(frozen=True, slots=True)
class Results:
    """Everything a report shows, transcripts apart."""

    trial: str
    title: str
    authors: tuple[str, ...]
    answer: str
    written_by_program: bool
    arms: tuple[ArmResult, ...]
    base: str | None  # the arm that deltas are against
    primary: str  # as the trial file names it
    metric: str | None  # the primary, or the first that was scored where people's grades decide and are not open
    metrics: Mapping[str, Mapping[str, Cell]]
    not_asked: frozenset[str]  # metrics that compare with a completion, where no prompt has one
    signatures: Mapping[str, str]
    prompts: tuple[str, ...]
    prompt_means: Mapping[str, Mapping[str, float]]  # arm -> prompt id -> mean by `metric`
    sample_values: Mapping[str, float]  # sample id -> its value by `metric`, where it has a finite one
    set_aside: tuple[str, ...]
    opened: bool  # the prompts set aside are shown although their grades are not locked yet
    locked: bool  # grading is over
    progress: GradingProgress | None  # None: nothing was set aside for grading
    unfinished: tuple[str, ...]  # what the trial still lacks
    findings: Findings
    warnings: tuple[str, ...]
    hashes: Mapping[str, str]  # file -> SHA-256
    texts_left_out: bool = False  # length and hash stand for prompts, answers and references

    @property
    def sampled_arms(self) -> tuple[ArmResult, ...]:
        return tuple(arm for arm in self.arms if arm.n_samples)


@dataclass(frozen=True, slots=True)
class Material:
    """What the sections of a report are made from."""

    records: TrialRecords
    results: Results


def _description(records: ArmRecords, *, dropped_after: int | None) -> str:
    """What the arm is, and where it was so, that it was dropped early, or sampled with its adapter unmerged."""
    unmerged = None if records.measured is None else records.measured.unmerged
    early = "" if dropped_after is None else f", dropped early, after a pilot on 1/{dropped_after} of its rows"
    return records.arm.describe() + (", sampled as it is: not merged into the weights" if unmerged else early)


def _arm_result(records: ArmRecords, *, slot: int, dropped_after: int | None) -> ArmResult:
    tokens = [s.tokens for s in records.samples if s.tokens is not None]
    stripped = [s.stripped_tokens for s in records.samples if s.stripped_tokens is not None]
    return ArmResult(
        name=records.name,
        method=records.arm.method,
        description=_description(records, dropped_after=dropped_after),
        base=records.arm.start_from,
        slot=slot,
        measured=records.measured,
        planned=records.planned,
        points=records.points,
        more_runs=records.more_runs,
        search=records.search,
        n_samples=len(records.samples),
        endings=dict(sorted(Counter(s.end_reason for s in records.samples if s.end_reason is not None).items())),
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        mean_stripped=sum(stripped) / len(stripped) if stripped else None,
    )


def _arm_results(arms: tuple[ArmRecords, ...], *, dropped: Mapping[str, int | None]) -> tuple[ArmResult, ...]:
    base = _base_arm(arms)
    others = iter(range(1, len(arms) + 1))
    return tuple(
        _arm_result(arm, slot=0 if arm.name == base else next(others), dropped_after=dropped.get(arm.name))
        for arm in arms
    )


def _base_arm(arms: tuple[ArmRecords, ...]) -> str | None:
    bases = [arm for arm in arms if arm.arm.method.is_the_model_itself and arm.samples]
    bases.sort(key=lambda arm: arm.arm.start_from is not None)  # the trial's own model first
    return bases[0].name if bases else None


def _warnings(records: TrialRecords, *, signatures: Mapping[str, set[str]], concluded: bool) -> list[str]:
    """What the records lack. `concluded`: a comparison was made, and says which warnings the scores call for."""
    found = []
    sampled = [arm for arm in records.arms if arm.samples]
    prompts = {arm.name: {s.prompt_id for s in arm.samples} for arm in sampled}
    everywhere = set.intersection(*prompts.values()) if prompts else set()
    partial = [name for name, ids in prompts.items() if ids != set.union(*prompts.values())]
    if partial and not concluded:
        found.append(
            f"The arms did not answer the same prompts, so their means are over different ones: {len(everywhere)} "
            f"were answered by all; {listing(partial)} lack some."
        )
    scored = {(s.metric, s.sample_id) for s in records.scores if s.value is not None}
    for metric, computed in signatures.items():
        if isinstance(metric_named(metric), ArmMetric) or metric == GRADE:
            continue
        missing = sum((metric, s.id) not in scored for s in records.samples)
        if missing and not concluded:
            found.append(f"{missing} of {len(records.samples)} samples have no {metric_name(metric)}.")
        if len(computed) > 1 and not concluded:
            found.append(
                f"{metric_name(metric)} was computed in {len(computed)} ways: {'; '.join(sorted(computed))}."
            )
    return found


def _graded(records: TrialRecords, *, findings: Findings, open_grades: bool) -> list[Score]:
    """People's open grades of these samples as scores; none where nothing was concluded from them."""
    if GRADE not in findings.intervals:
        return []
    samples = {sample.id for sample in records.samples}
    grades = open_grades_of(records.folder, open_grades=open_grades)
    return grade_scores(
        RatedSample(row.sample_id, row.rater, row.value)
        for row in grades
        if row.rater_kind != MODEL and row.sample_id in samples
    )


def build_results(
    records: TrialRecords,
    *,
    hashes: Mapping[str, str],
    findings: Findings | None = None,
    open_grades: bool = False,
    progress: GradingProgress | None = None,
) -> Results:
    """Join a trial's records into what its report says. `findings` adds verdict, intervals, pairs and the rest.

    `progress` is how far the grading had come.
    """
    findings = findings or Findings()
    trial, samples = records.trial, records.samples
    settings = scoring_settings(trial.judging, base=records.folder.root, samples=samples)
    whole_arm = [metric for metric in map(metric_named, settings.metrics) if isinstance(metric, ArmMetric)]
    scores = [*records.scores, *_graded(records, findings=findings, open_grades=open_grades)]
    means = {
        **arm_means(samples, scores),
        **whole_arm_means(samples, metrics=whole_arm, settings=settings),
    }
    by_run = run_means(samples, scores)
    listed = [trial.judging.primary, *trial.judging.metrics, *means]
    order = [metric for metric in dict.fromkeys(listed) if metric in means]
    metric = order[0] if order else None
    base = _base_arm(records.arms)
    prompts, to_grade = records.prompt_ids, records.set_aside
    dropped = {} if findings.early is None else findings.early.dropped
    signatures: dict[str, set[str]] = {name: set() for name in order}
    for found in whole_arm:
        signatures[found.name].add(found.signature(settings))
    for row in scores:
        signatures[row.metric].add(row.signature)

    best = {name: metric_named(name).best({arm: row.mean for arm, row in means[name].items()}) for name in order}

    def cell(name: str, arm: str) -> Cell:
        row, interval = means[name][arm], findings.intervals.get(name, {}).get(arm)
        at_base = means[name][base].mean if base is not None else None
        return Cell(
            mean=row.mean,
            n_prompts=row.n_prompts,
            n_samples=row.n_samples,
            low=interval.low if interval else None,
            high=interval.high if interval else None,
            to_base=None if arm == base or row.mean is None or at_base is None else row.mean - at_base,
            runs=by_run.get(name, {}).get(arm, ()),
            best=arm in best[name] and len(best[name]) < len(means[name]),
        )

    return Results(
        trial=trial.trial,
        title=trial.report.title or trial.trial,
        authors=trial.report.authors,
        answer=findings.verdict or plain_answer(means[metric] if metric else {}, metric=metric),
        written_by_program=records.written_by_program,
        arms=_arm_results(records.arms, dropped={arm: row.dropped_after for arm, row in dropped.items()}),
        base=base,
        primary=trial.judging.primary,
        metric=metric,
        metrics={name: {arm: cell(name, arm) for arm in means[name]} for name in order},
        not_asked=frozenset(
            name for name in order if metric_named(name).needs_references and not any(s.references for s in samples)
        ),
        signatures={name: sorted(ways)[0] for name, ways in signatures.items()},
        prompts=prompts,
        prompt_means=prompt_means(samples, scores).get(metric or "", {}),
        sample_values={
            row.sample_id: row.value
            for row in scores
            if row.metric == metric and row.value is not None and math.isfinite(row.value)
        },
        set_aside=tuple(prompt_id for prompt_id in prompts if prompt_id in to_grade),
        opened=open_grades and not records.grades_locked,
        locked=records.grades_locked,
        progress=progress,
        unfinished=unfinished(records, progress, dropped=dropped),
        findings=findings,
        warnings=(
            *findings.warnings,
            *failures(records.manifest),
            *data_findings(records.data),
            *_warnings(records, signatures=signatures, concluded=findings.verdict is not None),
        ),
        hashes=hashes,
    )


def read_results(folder: TrialFolder) -> Mapping[str, Any]:
    """What results.json holds. Raises UserError where there is none, or a newer finetrial wrote it."""
    path = folder.report / "results.json"
    if not path.exists():
        raise UserError(f"there is no report in {folder.root}", fix="`finetrial report` writes it.")
    try:
        content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON", got=str(error), fix="`finetrial report` writes it anew.") from None
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version > RESULTS_VERSION:
        raise UserError(
            f"{path} was written by another version of finetrial",
            got=f"version {version}",
            expected=f"{RESULTS_VERSION} or older",
            fix="`finetrial report` writes it anew.",
        )
    return content
