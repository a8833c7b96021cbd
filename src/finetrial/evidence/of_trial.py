"""What does a trial folder support? Its records in, findings out; needs no model and writes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.beforehand import changed_since
from finetrial.evidence.blindness import grading_facts
from finetrial.evidence.conclude import Setting, conclude
from finetrial.evidence.cost import cost_order
from finetrial.evidence.diagnose import diagnose
from finetrial.evidence.diagnosis_file import diagnosis_note, read_diagnosis
from finetrial.evidence.findings import Findings, GradingFacts
from finetrial.evidence.retention import retentions
from finetrial.evidence.table import RatedSample
from finetrial.evidence.untuned import untuned_rates
from finetrial.store.grade_key import unblinded_grades
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, Score, UnblindedGrade, as_object, read_object, read_rows
from finetrial.trial.load import load_trial
from finetrial.trial.schema import Trial
from finetrial.trial.subset import grading_prompts


def read_samples(folder: TrialFolder, *, arms: Sequence[str]) -> list[Sample]:
    """Every arm's samples, in the order of `arms`. Raises UserError where there are none."""
    found = [
        sample for arm in arms if folder.samples(arm).exists() for sample in read_rows(folder.samples(arm), Sample)
    ]
    if not found:
        raise UserError(f"no arm of {folder.root} has been sampled yet", fix="`finetrial run` tunes and samples.")
    return found


def open_grades_of(folder: TrialFolder, *, open_grades: bool = False) -> tuple[UnblindedGrade, ...]:
    """The grades joined with their samples once they are locked; before only if `open_grades`, which is logged."""
    state = grading_state(folder)
    if state.settings is None or not state.events or (state.locked_at is None and not open_grades):
        return ()
    return unblinded_grades(folder, open_grades=open_grades)


def _grading(folder: TrialFolder, trial: Trial, *, open_grades: bool) -> GradingFacts | None:
    """How it was graded; nothing before the lock, unless `open_grades`, and nothing where nobody graded."""
    state = grading_state(folder)
    if state.settings is None or not state.events or (state.locked_at is None and not open_grades):
        return None
    return grading_facts(folder, open_grades=open_grades, seed=trial.sampling.seed)


def _figures(folder: TrialFolder, *, arms: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """What each arm cost, measured; planned where it was not."""
    planned: Mapping[str, Any] = {}
    if folder.plan.exists():
        try:
            planned = json.loads(folder.plan.read_text(encoding="utf-8")).get("arms", {})
        except (ValueError, AttributeError):
            raise UserError(f"{folder.plan} is not a plan", fix="`finetrial plan` writes it.") from None
    figures: dict[str, Mapping[str, Any]] = {}
    for arm in arms:
        figures[arm] = planned.get(arm) or {}
        if folder.measured(arm).exists():
            measured = as_object(read_object(folder.measured(arm), Measured))
            figures[arm] = {**figures[arm], **{key: value for key, value in measured.items() if value is not None}}
    return figures


def _setting(
    folder: TrialFolder, trial: Trial, *, samples: Sequence[Sample], hide: bool, warnings: tuple[str, ...]
) -> Setting:
    judging = trial.judging
    present = set(sample.arm for sample in samples)
    arms = [arm for arm in trial.arms if arm in present]
    to_grade = grading_prompts(
        [s.prompt_id for s in samples], count=judging.grade_prompts, seed=trial.sampling.seed
    )
    return Setting(
        primary=judging.primary,
        margin=judging.margin,
        metrics=judging.metrics,
        unicode=judging.unicode,
        arms=arms,
        costs=cost_order({arm: trial.arms[arm].kind for arm in arms}, figures=_figures(folder, arms=arms)),
        trained=[arm for arm in arms if trial.arms[arm].tuned],
        exploratory=changed_since(folder, judging=judging),
        hidden=to_grade if hide else (),
        runs={sample.id: str(sample.run) for sample in samples if sample.run is not None},
        warnings=warnings,
        seed=trial.sampling.seed,
    )


def trial_findings(
    folder: TrialFolder,
    *,
    trial: Trial | None = None,
    scores: Sequence[Score] | None = None,
    open_grades: bool = False,
) -> Findings:
    """What a trial folder's records support. The same records give the same findings.

    `trial` and `scores` stand in for the folder's own where something is tried that was not written. Grades count
    once they are locked, or when `open_grades`, which is logged. Raises UserError where nothing was scored.
    """
    trial = trial if trial is not None else load_trial(folder.root).trial
    samples = read_samples(folder, arms=tuple(trial.arms))
    if scores is None:
        if not folder.scores.exists():
            raise UserError(f"{folder.scores} is missing", fix="`finetrial score` writes it.")
        scores = list(read_rows(folder.scores, Score))
    grades = open_grades_of(folder, open_grades=open_grades)
    is_locked = grading_state(folder).locked_at is not None
    warnings = []
    if not_blind := sum(not grade.blind for grade in grades):
        warnings.append(f"{not_blind} grades are not blind: they were given after somebody had opened the key.")
    diagnosis = read_diagnosis(folder) or diagnose(samples, seed=trial.sampling.seed)
    if (note := diagnosis_note(diagnosis)) is not None:
        warnings.append(note)
    present = {sample.arm for sample in samples}
    if (note := untuned_rates(trial, arms=[arm for arm in trial.arms if arm in present])) is not None:
        warnings.append(note)
    hide = not (is_locked or open_grades)
    findings = conclude(
        samples,
        scores,
        setting=_setting(folder, trial, samples=samples, hide=hide, warnings=tuple(warnings)),
        grades=[RatedSample(g.sample_id, g.rater, g.value) for g in grades],
        diagnostics=diagnosis.diagnostics,
    )
    facts = _grading(folder, trial, open_grades=open_grades)
    return replace(findings, grading=facts, retained=retentions(folder, trial))
