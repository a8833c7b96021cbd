"""Read anyone's file of outputs and conclude what it supports, without any model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetrial.errors import UserError, unknown_name
from finetrial.evidence.conclude import AnalysisSettings, conclude
from finetrial.evidence.cost import CostOrder, order_by_names, stated_order
from finetrial.evidence.diagnose import diagnose
from finetrial.evidence.diagnosis_file import diagnosis_note
from finetrial.evidence.findings import Findings
from finetrial.evidence.floor import OtherReferences, score_other_references
from finetrial.evidence.outputs_file import OutputsFile, read_outputs_file
from finetrial.evidence.sample_scores import note_of_script, score_samples, scoring_settings
from finetrial.metrics.mean_grade import GRADE
from finetrial.metrics.metric_table import check_primary, metric_named
from finetrial.store.records import Score
from finetrial.trial.schema import Judging


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """What is asked of a file. `primary` None: the first value, rouge1, or grades where there are no references."""

    primary: str | None = None
    metrics: tuple[str, ...] | None = None
    margin: float | None = None
    references: str = "best_primary"
    stemmer: bool = False
    unicode: bool | None = None  # None: where the references need it
    values: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    costs: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    seed: int = 0


def _judging(asked: ScoringOptions, *, primary: str) -> Judging:
    given = {
        "primary": primary,
        "references": asked.references,
        "stemmer": asked.stemmer,
        "unicode": "auto" if asked.unicode is None else asked.unicode,
    }
    return Judging.model_validate(given if asked.metrics is None else given | {"metrics": asked.metrics})


def _primary(asked: ScoringOptions, found: OutputsFile) -> str:
    if asked.values:
        allowed = (*asked.values, *(asked.metrics or ()), *((GRADE,) if found.grades else ()))
        if asked.primary is not None and asked.primary not in allowed:
            raise unknown_name("primary metric", asked.primary, allowed)
        return asked.primary or asked.values[0]
    if asked.primary == GRADE and not found.grades:
        raise UserError(
            "grades cannot decide: no row has one", expected="a column grade: good, bad, unsure or a number"
        )
    if asked.primary is not None:
        return asked.primary
    referenced = any(sample.references for sample in found.samples)
    return GRADE if found.grades and not referenced else (asked.metrics or ("rouge1",))[0]


def _costs(asked: ScoringOptions, *, arms: Sequence[str]) -> CostOrder | None:
    return stated_order(asked.costs, arms=arms) if asked.costs else order_by_names(arms)


def _other_references(found: OutputsFile, *, asked: ScoringOptions, primary: str) -> OtherReferences | None:
    """What other prompts' references score; None where grades or a column of values decide."""
    if primary == GRADE or primary in asked.values:
        return None
    return score_other_references(found.samples, judging=_judging(asked, primary=primary), seed=asked.seed)


@dataclass(frozen=True, slots=True)
class ScoredOutputs:
    """Outputs, their scores, and what these support."""

    outputs: OutputsFile
    scores: tuple[Score, ...]
    findings: Findings


def file_findings(path: Path, *, asked: ScoringOptions) -> Findings:
    """Everything the file supports. A metric of the user's own is a path from the current folder.

    Raises UserError with the line that is wrong, and for unknown names.
    """
    return score_outputs(read_outputs_file(path, values=asked.values), asked=asked).findings


def score_outputs(found: OutputsFile, *, asked: ScoringOptions) -> ScoredOutputs:
    """Score outputs and conclude what they support. Raises UserError for unknown names."""
    primary = _primary(asked, found)
    check_primary(metric_named(primary))
    scores: list[Score] = list(found.values)
    own = primary if primary not in asked.values else (asked.metrics or ("rouge1",))[0]
    if found.counts and (asked.metrics or primary != GRADE):
        named = (asked.metrics or (primary,))[0]
        raise UserError(f"there are counts and no texts, so {named} cannot be computed", fix="Leave it out.")
    judging = _judging(asked, primary=own)
    computed = not found.counts and (not asked.values or bool(asked.metrics))
    if computed:
        scores += score_samples(found.samples, judging=judging, base=Path())
    for name in asked.lower_is_better:
        if name not in {score.metric for score in scores}:
            raise unknown_name("metric of which less is better", name, {score.metric for score in scores})
    has_texts = any(sample.text.strip() for sample in found.samples)
    diagnosis = diagnose(found.samples, seed=asked.seed) if has_texts else None
    notes = [diagnosis_note(diagnosis) if diagnosis is not None else None]
    if computed:
        notes.insert(0, note_of_script(judging, found.samples))
    findings = conclude(
        found.samples,
        scores,
        setting=AnalysisSettings(
            primary=primary,
            margin=0.02 if asked.margin is None else asked.margin,
            metrics=(*asked.values, *(asked.metrics or ())),
            scoring=scoring_settings(judging, base=Path(), samples=found.samples),
            order=_costs(asked, arms=found.arms),
            other_references=_other_references(found, asked=asked, primary=primary),
            trained=None,
            lower_is_better=asked.lower_is_better,
            has_texts=has_texts,
            contents=found.contents,
            runs=found.runs,
            warnings=tuple(filter(None, notes)),
            slices=asked.slices,
            seed=asked.seed,
        ),
        grades=found.grades,
        diagnostics=diagnosis.diagnostics if diagnosis is not None else (),
    )
    if asked.values and asked.margin is None:  # a margin is in the metric's own unit, and nobody named one
        findings = replace(findings, recommendation=None)
    return ScoredOutputs(found, tuple(scores), findings)
