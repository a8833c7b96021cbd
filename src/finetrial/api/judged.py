"""Score a trial's folder anew where its samples or its judging changed, or try another judging on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.evidence.findings import Findings
from finetrial.evidence.row_columns import data_columns, with_columns
from finetrial.evidence.sample_scores import score_samples
from finetrial.evidence.trial_findings import read_samples, trial_findings
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Score, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.examples import Example, Splits
from finetrial.trial.trial_file import LoadedTrial, load_trial
from finetrial.workflow.score_step import check_judging, score_trial


@dataclass(frozen=True, slots=True)
class JudgedFolder:
    """A trial's scores, what they support, and what was done otherwise than asked."""

    findings: Findings
    scores: Sequence[Score]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The data of a trial where they are at hand; `notes` says what goes unchecked where they are not."""

    training: Callable[[], tuple[Example, ...] | None]
    heldout: Callable[[], tuple[Example, ...] | None]


def _rows(loaded: LoadedTrial, *, notes: list[str]) -> _Rows:
    @functools.cache
    def splits() -> Splits | None:
        try:
            return read_splits(loaded)
        except UserError as error:  # the samples are scored without the data they were trained on
            notes.append(f"copying from the training text is not checked: {error.what}")
            return None

    def training() -> tuple[Example, ...] | None:
        found = splits()
        return None if found is None else found.train

    def heldout() -> tuple[Example, ...] | None:
        found = splits()
        return None if found is None else found.heldout

    return _Rows(training, heldout)


def score_anew(loaded: LoadedTrial, folder: TrialFolder, *, notes: list[str]) -> None:
    """Score the folder's samples and lay texts out for judges, where the samples or the judging changed."""
    held, rows = load_trial(folder.root).trial, _rows(loaded, notes=notes)
    score_trial(
        folder,
        held,
        manifest=Manifest(folder.manifest),
        base=loaded.base,
        training=rows.training,
        heldout=rows.heldout,
    )


def score_folder(loaded: LoadedTrial, folder: TrialFolder, *, open_grades: bool) -> JudgedFolder:
    """Score and conclude. Where `loaded` is judged otherwise than the folder says, nothing is written."""
    notes: list[str] = []
    check_judging(loaded.trial.judging, base=loaded.base)
    samples = read_samples(folder, arms=tuple(loaded.trial.arms))
    held = load_trial(folder.root).trial if folder.trial.exists() else None
    if held is not None and held.judging == loaded.trial.judging:
        score_anew(loaded, folder, notes=notes)
        findings = trial_findings(folder, open_grades=open_grades)
        return JudgedFolder(findings, list(read_rows(folder.scores, Score)), tuple(notes))
    notes.append(
        "tried, not written: the trial is judged otherwise. `finetrial run` takes a changed trial file over."
    )
    if (rows := _rows(loaded, notes=notes).heldout()) is not None:
        samples = with_columns(samples, data_columns(rows))
    scores = score_samples(samples, judging=loaded.trial.judging, base=loaded.base)
    findings = trial_findings(folder, trial=loaded.trial, scores=scores, base=loaded.base, open_grades=open_grades)
    return JudgedFolder(findings, scores, tuple(notes))
