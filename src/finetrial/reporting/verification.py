"""Recompute a trial's report from its samples, grades and measurements, and hold every file to it.

Nothing that could be computed is believed: scores, diagnostics and figures are made anew, items, pairs and key are
laid out again, and the pages must be those of the document that comes out. What cannot be looked at is listed.
Nothing is written, and no code that came with a folder is run unless it is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from finetrial.errors import FinetrialError, UserError
from finetrial.evidence.diagnose import Diagnosis, diagnose, training_texts
from finetrial.evidence.diagnosis_file import read_diagnosis
from finetrial.evidence.findings import Diagnostic, Floor
from finetrial.evidence.grading_progress import GradingProgress, grading_progress
from finetrial.evidence.judge_grades_follow import unfounded_grades
from finetrial.evidence.sample_scores import computed_metrics, given_scores, score_outputs, scoring_settings
from finetrial.evidence.trial_findings import read_samples, trial_findings
from finetrial.reporting.gather import PROVENANCE, manifest_facts
from finetrial.reporting.render.results_json import TEXTS_LEFT_OUT
from finetrial.reporting.results import read_results
from finetrial.reporting.verify.early_records import check_early
from finetrial.reporting.verify.grading_records import check_grading
from finetrial.reporting.verify.published_digests import check_lock, check_seal
from finetrial.reporting.verify.report_forms import (
    compare_figures,
    compare_pages,
    compare_results,
    drawn_alike,
    duplicate_keys,
    is_of_another_version,
    name_strange_files,
)
from finetrial.reporting.verify.sample_records import check_data, check_samples, read_all_samples, read_local_data
from finetrial.reporting.verify.stand_ins import check_stand_ins
from finetrial.reporting.verify.step_records import check_steps
from finetrial.reporting.verify.tally import Mismatch, Tally, same
from finetrial.reporting.write import ComposedReport, compose_report, report_paths
from finetrial.store.layout import TrialFolder
from finetrial.store.left_out import original_hashes
from finetrial.store.records import Sample, Score, read_rows
from finetrial.trial.examples import Splits
from finetrial.trial.trial_file import LoadedTrial, load_trial

__all__ = ["Mismatch", "Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """How much agreed, what did not, and what could not be looked at."""

    agreed: Mapping[str, int]  # kind -> how many: numbers, scores, files, settings, samples, events, figures ...
    given: int  # scores from elsewhere, which no metric here computes: not recomputed
    sealed: bool  # the digest published before sampling was given, and agrees
    locked: bool  # the digest published at the lock was given, and agrees
    mismatches: tuple[Mismatch, ...]
    not_checked: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.mismatches

    @property
    def numbers(self) -> int:
        """Of results.json, equal to those recomputed."""
        return self.agreed.get("numbers", 0)

    @property
    def scores(self) -> int:
        """Of scores.jsonl, equal to those computed from the samples."""
        return self.agreed.get("scores", 0)

    @property
    def files(self) -> int:
        """Whose hashes are those noted when they were written."""
        return self.agreed.get("files", 0)


def _score_text(score: Score, *, signed: bool) -> str:
    value = "undefined" if score.value is None else str(score.value)
    return f"{value} ({score.signature})" if signed else value


def _recomputed_scores(
    folder: TrialFolder, loaded: LoadedTrial, samples: list[Sample], *, run_own_metrics: bool, tally: Tally
) -> tuple[list[Score], int, bool]:
    """Every score computed anew, with those that cannot be; how many these are; and whether own metrics were left.

    Rows of scores.jsonl are compared with what their samples give.
    """
    judging = loaded.trial.judging
    metrics = computed_metrics(judging)
    left = [metric for metric in metrics if metric.files and not run_own_metrics]
    if left:
        names = ", ".join(metric.name for metric in left)
        tally.not_looked_at(f"the scores by {names}: --run-own-metrics runs the code that came with the folder")
    computed = [metric for metric in metrics if metric not in left]
    found = score_outputs(
        samples, metrics=computed, settings=scoring_settings(judging, base=loaded.base, samples=samples)
    )
    rows = list(read_rows(folder.scores, Score)) if folder.scores.exists() else []
    if not rows and found:
        tally.differs("scores.jsonl", None, f"{len(found)} scores")
    own = {metric.name for metric in left}
    foreign = {(s.sample_id, s.metric) for s in given_scores([row for row in rows if row.metric not in own])}
    given = [row for row in rows if (row.sample_id, row.metric) in foreign or row.metric in own]
    said = {(s.sample_id, s.metric): s for s in rows if s not in given}
    anew = {(s.sample_id, s.metric): s for s in found}
    if len(said) + len(given) != len(rows):
        tally.differs("scores.jsonl: rows that stand twice", len(rows) - len(said) - len(given), 0)
    for key in dict.fromkeys((*said, *anew)):
        a, b = said.get(key), anew.get(key)
        if a is not None and b is not None and same(a.value, b.value) and a.signature == b.signature:
            tally.agreed["scores"] += 1
            continue
        alike = a is not None and b is not None and a.signature == b.signature
        sides = (None if s is None else _score_text(s, signed=not alike) for s in (a, b))
        tally.differs(f"scores.jsonl: {key[1]} of {key[0]}", *sides)
    return [*found, *given], len(given), bool(left)


def _recomputed_diagnosis(
    folder: TrialFolder, loaded: LoadedTrial, samples: list[Sample], splits: Splits | None, *, tally: Tally
) -> Diagnosis | None:
    """What goes wrong, looked for anew where the text that the arms learned from is here, or was not asked for."""
    noted = read_diagnosis(folder)
    if noted is not None and noted.with_training and splits is None:
        tally.not_looked_at("diagnostics.jsonl: it was made with the training text, which is not here")
        return None
    training = None
    if noted is not None and noted.with_training and splits is not None:
        training = training_texts(splits.train)
    found = diagnose(samples, training=training, seed=loaded.trial.sampling.seed)
    if noted is None:
        return found
    said, own = ({row.name: row for row in side.diagnostics} for side in (noted, found))
    for name in dict.fromkeys((*said, *own)):
        a, b = (_found_of(rows.get(name)) for rows in (said, own))
        tally.compare(f"diagnostics.jsonl: {name}", a, b, kind="diagnostics")
    looked_at = ((side.n_prompts, side.of_prompts) for side in (noted, found))
    tally.compare("diagnostics.jsonl: prompts that were looked at", *looked_at, kind="diagnostics")
    worded = (
        replace(row, definition=said[row.name].definition, source=said[row.name].source)
        if row.name in said
        else row
        for row in found.diagnostics
    )
    return replace(found, diagnostics=tuple(worded))


def _found_of(row: Diagnostic | None) -> str | None:
    """What a diagnostic found, its definition apart, which another version may word otherwise."""
    if row is None:
        return None
    return json.dumps([dict(row.arms), row.references, [asdict(example) for example in row.examples]])


def _reported_floor(reported: Mapping[str, Any], *, tally: Tally) -> Floor | None:
    """What other prompts' references score by an own metric that is not run: as the report says it."""
    said = reported.get("floor")
    if not isinstance(said, Mapping):
        return None
    tally.not_looked_at("what other prompts' references score, which an own metric or texts left out give")
    try:
        return Floor(**{**said, "above": tuple(said["above"]), "at": tuple(said["at"])})
    except (TypeError, KeyError) as error:
        tally.differs("results.json: floor", str(error), "a floor")
        return None


def _reported_provenance(
    reported: Mapping[str, Any], manifest: Mapping[str, Any], *, tally: Tally
) -> dict[str, str]:
    """What the report says of the run that made it. A later run notes its own: the lines may differ, and no others
    may stand among them."""
    noted = manifest_facts(manifest, PROVENANCE)
    said = reported.get("recompute")
    if not isinstance(said, Mapping):
        return noted
    labels = set(manifest_facts(dict.fromkeys(PROVENANCE, "-"), PROVENANCE))
    found = {label: text for label, text in said.items() if label in labels and isinstance(text, str)}
    if differing := [label for label in (*noted, *found) if noted.get(label) != found.get(label)]:
        names = ", ".join(dict.fromkeys(label.lower() for label in differing))
        tally.not_looked_at(f"the report's lines on its run ({names}): manifest.json notes another run")
    return found


def _reported_progress(folder: TrialFolder, reported: Mapping[str, Any], *, tally: Tally) -> GradingProgress | None:
    """How far the grading had come when the report was written; since then people may have gone on."""
    now = grading_progress(folder)
    said = reported.get("grading_progress")
    if now is None or now.locked or not isinstance(said, Mapping) or said == asdict(now):
        return now
    by_rater = said.get("by_rater")
    if not isinstance(by_rater, Mapping) or not all(
        name in now.by_rater and type(count) is int and 0 <= count <= now.items for name, count in by_rater.items()
    ):
        return now
    counted = said.get("counted")
    if type(counted) is not int or not 0 <= counted <= min(now.wanted, sum(by_rater.values())):
        return now
    tally.not_looked_at("how far the grading had come when the report was written")
    return replace(now, by_rater=dict(by_rater), counted=counted)


def _manifest(folder: TrialFolder, *, tally: Tally) -> Mapping[str, Any]:
    if not folder.manifest.exists():
        tally.differs("manifest.json", None, "a record of the steps")
        return {}
    text = folder.manifest.read_text(encoding="utf-8")
    try:
        for key in duplicate_keys(text):
            tally.differs(f"manifest.json: {key}", "stands twice in one object", "once")
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{folder.manifest} is not JSON", got=str(error)) from None
    return content if isinstance(content, dict) else {}


def _compare_forms(
    folder: TrialFolder, reported: Mapping[str, Any], composed: ComposedReport, *, tally: Tally
) -> None:
    recomputed = json.loads(json.dumps(composed.results, allow_nan=False))
    pages_follow = compare_results(folder, reported, recomputed, tally=tally)
    if is_of_another_version(reported, recomputed):
        tally.not_looked_at("wording and pages, which another version wrote; `finetrial report` writes them anew")
        return
    pages, alike = composed.pages, drawn_alike(reported)
    if pages_follow:
        compare_pages(folder, pages, same_library=alike, tally=tally)
    compare_figures(folder, composed.document.drawings, same_library=alike, tally=tally)
    name_strange_files(folder, report_paths(folder, composed), tally=tally)


def _recompute(
    folder: TrialFolder,
    loaded: LoadedTrial,
    samples: list[Sample],
    splits: Splits | None,
    reported: Mapping[str, Any],
    manifest: Mapping[str, Any],
    *,
    run_own_metrics: bool,
    tally: Tally,
) -> int:
    """Make the report anew and compare every form of it. Returns how many scores were given, not computed."""
    diagnosis: Diagnosis | None = None
    if original_hashes(folder):  # nothing can be scored or looked for in what is left out
        scores = list(read_rows(folder.scores, Score)) if folder.scores.exists() else []
        given, left_own = len(scores), True
    else:
        scores, given, left_own = _recomputed_scores(
            folder, loaded, samples, run_own_metrics=run_own_metrics, tally=tally
        )
        diagnosis = _recomputed_diagnosis(folder, loaded, samples, splits, tally=tally)
    floor = _reported_floor(reported, tally=tally) if left_own else None
    opened = bool(reported.get("grading", {}).get("opened"))
    composed = compose_report(
        folder,
        open_grades=opened,
        findings=trial_findings(folder, scores=scores, diagnosis=diagnosis, floor=floor, open_grades=opened),
        scores=scores,
        provenance=_reported_provenance(reported, manifest, tally=tally),
        progress=_reported_progress(folder, reported, tally=tally),
        texts=reported.get("texts") != TEXTS_LEFT_OUT,
    )
    _compare_forms(folder, reported, composed, tally=tally)
    return given


def verify(
    folder: TrialFolder, *, seal: str | None = None, lock: str | None = None, run_own_metrics: bool = False
) -> Verification:
    """Recompute a trial's report from its records and compare every file with it.

    `seal` and `lock` are the digests that were published before sampling and at the lock. Raises UserError where
    there is no report, or a record cannot be read at all.
    """
    tally = Tally()
    reported, manifest, loaded = read_results(folder), _manifest(folder, tally=tally), load_trial(folder.root)
    samples = read_samples(folder, arms=tuple(loaded.trial.arms), needed=False)
    by_arm = read_all_samples(folder, samples)
    check_steps(folder, loaded, manifest, tally=tally)
    check_early(folder, loaded.trial, tally=tally)
    check_samples(by_arm, tally=tally)
    splits: Splits | None = None
    if original_hashes(folder):
        check_stand_ins(folder, samples, tally=tally)
    else:
        if (splits := read_local_data(loaded, tally=tally)) is not None:
            check_data(splits, by_arm, loaded=loaded, manifest=manifest, tally=tally)
        check_grading(folder, loaded.trial, samples, tally=tally)
        for what, stored, follows in unfounded_grades(folder, loaded.trial):
            tally.differs(what, stored, follows)
    given = 0
    try:
        given = _recompute(
            folder, loaded, samples, splits, reported, manifest, run_own_metrics=run_own_metrics, tally=tally
        )
    except (FinetrialError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        if not tally.mismatches:
            raise
        tally.differs("the report", "cannot be made from these records", f"{type(error).__name__}: {error}")
    wrong = len(tally.mismatches)
    check_seal(folder, loaded, samples=samples, splits=splits, digest=seal, tally=tally)
    sealed = seal is not None and len(tally.mismatches) == wrong
    wrong = len(tally.mismatches)
    check_lock(folder, manifest, digest=lock, tally=tally)
    return Verification(
        agreed=dict(tally.agreed),
        given=given,
        sealed=sealed,
        locked=lock is not None and len(tally.mismatches) == wrong,
        mismatches=tuple(tally.mismatches),
        not_checked=tuple(tally.not_checked),
    )
