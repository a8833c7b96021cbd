"""Read a trial folder's records and conclude what they support. Needs no model and writes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.cost import cost_order, trial_costs
from finetrial.evidence.diagnose import Diagnosis, diagnose
from finetrial.evidence.diagnosis_file import diagnosis_note, read_diagnosis
from finetrial.evidence.early_outcome import dropped_note, early_outcome
from finetrial.evidence.equivalence import DeployedAs
from finetrial.evidence.findings import Findings, Floor, GradingSummary
from finetrial.evidence.first_judging import changed_since, primary_at_first
from finetrial.evidence.floor import score_other_references
from finetrial.evidence.forgetting import forgetting_of_arms
from finetrial.evidence.graded_references import graded_references
from finetrial.evidence.grading_stand import any_time_comparisons
from finetrial.evidence.grading_summary import grading_summary
from finetrial.evidence.judge_findings import judge_findings
from finetrial.evidence.more_rows import more_rows
from finetrial.evidence.reference_cost import reference_costs
from finetrial.evidence.row_columns import stored_columns, with_columns
from finetrial.evidence.sample_scores import note_of_script, scoring_settings, with_script
from finetrial.evidence.score_table import RatedSample
from finetrial.metrics.mean_grade import GRADE
from finetrial.store.grade_key import read_key, unblinded_grades
from finetrial.store.grade_records import MODEL, UnblindedGrade
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.plan_record import planned_figures
from finetrial.store.records import (
    Measured,
    Sample,
    Score,
    as_object,
    check_records_version,
    read_object,
    read_rows,
)
from finetrial.store.search import read_search
from finetrial.trial.graded_prompts import graded_prompts
from finetrial.trial.schema import Trial
from finetrial.trial.subset import grading_prompts
from finetrial.trial.trial_file import load_trial


def read_samples(folder: TrialFolder, *, arms: Sequence[str], needed: bool = True) -> list[Sample]:
    """Every arm's samples, in the order of `arms`. Raises UserError where there are none and some are `needed`."""
    check_records_version(folder.manifest)
    found = [
        sample for arm in arms if folder.samples(arm).exists() for sample in read_rows(folder.samples(arm), Sample)
    ]
    if not found and needed:
        raise UserError(f"no arm of {folder.root} has been sampled yet", fix="`finetrial run` tunes and samples.")
    columns = stored_columns(folder)
    return with_columns(found, columns) if columns else found


def open_grades_of(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedGrade, ...]:
    """The grades joined with their samples once they are locked; before only if `open_grades`, which is logged."""
    state = grading_state(folder)
    if state.settings is None or not state.events or (state.locked_at is None and not open_grades):
        return ()
    return unblinded_grades(folder, open_grades=open_grades)


def _grading(folder: TrialFolder, trial: Trial, *, open_grades: bool) -> GradingSummary | None:
    """How it was graded; nothing before the lock, unless `open_grades`, and nothing where nobody graded."""
    state = grading_state(folder)
    if state.settings is None or not state.events or (state.locked_at is None and not open_grades):
        return None
    return grading_summary(folder, open_grades=open_grades, seed=trial.sampling.seed)


def _figures(
    folder: TrialFolder, trial: Trial, *, arms: Sequence[str], samples: Sequence[Sample]
) -> dict[str, Mapping[str, Any]]:
    """What each arm cost, measured; planned where it was not.

    What an older version did not write into measured.json stands in the samples and in search.json, as far as it is
    known at all.
    """
    planned = planned_figures(folder.plan)
    figures: dict[str, Mapping[str, Any]] = {}
    for arm in arms:
        figures[arm] = planned.get(arm, {})
        if folder.measured(arm).exists():
            measured = as_object(read_object(folder.measured(arm), Measured))
            of_samples = _of_samples(measured, samples=[s for s in samples if s.arm == arm and not s.run])
            of_search = _of_search(folder, arm) if trial.rate_of(arm) == "auto" else {}
            known = {key: value for key, value in measured.items() if value is not None}
            figures[arm] = {**figures[arm], **of_samples, **of_search, **known}
    return figures


def _of_samples(measured: Mapping[str, Any], *, samples: Sequence[Sample]) -> dict[str, float]:
    tokens = [sample.tokens for sample in samples if sample.tokens is not None]
    found = {"request_generated_tokens": math.fsum(tokens) / len(tokens)} if tokens else {}
    if samples and measured["sample_seconds"] is not None:
        found["request_seconds"] = measured["sample_seconds"] / len(samples)
    return found


def _of_search(folder: TrialFolder, arm: str) -> dict[str, float | None]:
    search = read_search(folder.search(arm))
    return {} if search is None else {"search_seconds": search.seconds, "search_flops": search.flops}


def _margin_of(trial: Trial, arm: str) -> float:
    """The margin within which a deployed form is equivalent."""
    return trial.arms[arm].method.equivalence_margin or trial.judging.margin


def _failed_checks(figures: Mapping[str, Any]) -> tuple[str, ...]:
    """What was found wrong before an arm was sampled."""
    checks = figures.get("sampling_checks") or ()
    return tuple(check["text"] for check in checks if check["holds"] is False)


def _setting(
    folder: TrialFolder,
    trial: Trial,
    *,
    samples: Sequence[Sample],
    base: Path,
    hide: bool,
    warnings: tuple[str, ...],
    floor: Floor | None,
) -> AnalysisSettings:
    judging, seed = with_script(trial.judging, samples), trial.sampling.seed
    present = set(sample.arm for sample in samples)
    arms = [arm for arm in trial.arms if arm in present]
    methods = {arm: trial.arms[arm].method for arm in arms}
    figures = _figures(folder, trial, arms=arms, samples=samples)
    costs = trial_costs(methods, figures=figures, prices=trial.prices, requests=judging.requests)
    count = graded_prompts(judging, manifest=Manifest(folder.manifest).content)
    to_grade = grading_prompts([s.prompt_id for s in samples], count=count, seed=seed)
    by_grades = judging.primary == GRADE
    return AnalysisSettings(
        primary=judging.primary,
        named=primary_at_first(folder),
        margin=judging.margin,
        metrics=judging.metrics,
        scoring=scoring_settings(judging, base=base),
        arms=arms,
        order=cost_order({a: m for a, m in methods.items() if m.deployed_from is None}, costs=costs),
        costs=costs,
        other_references=None
        if by_grades or floor is not None
        else score_other_references(samples, judging=judging, base=base, seed=seed),
        floor=floor,
        at_default_rate=[arm for arm in arms if trial.arms[arm].tuned and trial.rate_of(arm) is None],
        external=[arm for arm in arms if methods[arm].is_from_elsewhere and methods[arm].training_rows is None],
        base_unknown={arm: str(figures[arm]["base_unknown"]) for arm in arms if figures[arm].get("base_unknown")},
        unanswered={arm: figures[arm]["unanswered"] for arm in arms if figures[arm].get("unanswered")},
        deployed={
            arm: DeployedAs(methods[arm].deployed_from or "", _margin_of(trial, arm))
            for arm in arms
            if methods[arm].deployed_from is not None
        },
        failed_checks={arm: failed for arm in arms if (failed := _failed_checks(figures[arm]))},
        trained=[arm for arm in arms if trial.arms[arm].tuned],
        exploratory=changed_since(folder, trial=trial, base=base),
        hidden=to_grade if hide else (),
        runs={sample.id: str(sample.run) for sample in samples if sample.run is not None},
        warnings=(*filter(None, [note_of_script(trial.judging, samples)]), *warnings),
        slices=trial.report.slices,
        seed=seed,
    )


def trial_findings(
    folder: TrialFolder,
    *,
    trial: Trial | None = None,
    scores: Sequence[Score] | None = None,
    base: Path | None = None,
    open_grades: bool = False,
    diagnosis: Diagnosis | None = None,
    floor: Floor | None = None,
) -> Findings:
    """What a trial folder's records support. The same records give the same findings.

    `trial` and `scores` stand in for the folder's own where something is tried that was not written, and `base` for
    the folder that a metric of the user's own is relative to. `diagnosis` stands in for diagnostics.jsonl, and
    `floor` for what other prompts' references score, which is then not computed. Grades count
    once they are locked, or when `open_grades`, which is logged. Of a trial that nobody sampled or scored yet the
    verdict says so.
    """
    trial = trial if trial is not None else load_trial(folder.root).trial
    samples = read_samples(folder, arms=tuple(trial.arms), needed=False)
    if not samples:
        return Findings(verdict="There is no verdict yet: no arm has been sampled.", primary=trial.judging.primary)
    if scores is None:
        scores = list(read_rows(folder.scores, Score)) if folder.scores.exists() else []
    everyones = open_grades_of(folder, open_grades=open_grades)
    grades = [grade for grade in everyones if grade.rater_kind != MODEL]
    is_locked = grading_state(folder).locked_at is not None
    warnings = []
    if not_blind := sum(not grade.blind for grade in grades):
        warnings.append(f"{not_blind} grades are not blind: they were given after somebody had opened the key.")
    diagnosis = diagnosis or read_diagnosis(folder) or diagnose(samples, seed=trial.sampling.seed)
    if (note := diagnosis_note(diagnosis)) is not None:
        warnings.append(note)
    hide = not (is_locked or open_grades)
    judges = judge_findings(folder, trial, samples=samples, grades=everyones, open_grades=open_grades)
    mixed_in: tuple[Sample, ...] = ()
    if grades and trial.judging.grade_references:
        key = read_key(folder, open_grades=open_grades)
        mixed_in = graded_references(folder, key, prompts={sample.prompt_id for sample in samples})
    findings = conclude(
        samples,
        scores,
        setting=replace(
            _setting(
                folder,
                trial,
                samples=samples,
                base=base or folder.root,
                hide=hide,
                warnings=tuple(warnings),
                floor=floor,
            ),
            judge=next((judge for judge in judges if judge.decides), None),
            any_time=any_time_comparisons(folder, confirmatory=True) if grades and not hide else (),
        ),
        grades=[RatedSample(g.sample_id, g.rater, g.value) for g in grades],
        diagnostics=diagnosis.diagnostics,
        references=mixed_in,
    )
    facts = _grading(folder, trial, open_grades=open_grades)
    if facts is not None and not facts.raters:
        facts = None  # only models graded
    early = early_outcome(folder, trial)
    return replace(
        findings,
        warnings=(*findings.warnings, *dropped_note(early)),
        early=early,
        grading=facts,
        judges=judges,
        retained=forgetting_of_arms(folder, trial),
        references=reference_costs(folder, trial),
        more_rows=more_rows(folder, trial),
    )
