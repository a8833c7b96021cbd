"""Score a trial, and set the texts for its judges aside, as a step of the trial.

Needs no torch: `finetrial score` and `finetrial grade` run this step alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.diagnose import diagnose, training_texts
from finetrial.evidence.diagnosis_file import write_diagnosis
from finetrial.evidence.first_judging import keep_first_judging
from finetrial.evidence.row_columns import (
    ColumnsByPrompt,
    data_columns,
    store_columns,
    stored_columns,
    with_columns,
)
from finetrial.evidence.sample_scores import check_metrics, computed_metrics, given_scores, score_samples
from finetrial.evidence.slices import LENGTH
from finetrial.judging.blinding import write_items
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Sample, Score, read_rows, write_rows
from finetrial.trial.examples import Example
from finetrial.trial.graded_prompts import settled_judging
from finetrial.trial.schema import Judging, Trial
from finetrial.workflow.step import Stage, StepDefaults
from finetrial.workflow.walk import run_step

# Goes up when the step comes to write something else from the same records.
STEP_VERSION = 3
# Of the judging settings, those that only a report reads.
_NO_SCORE = {"margin", "requests", "judges", "estimator", "stopping", "difference", "pilot"}


def check_judging(judging: Judging, *, base: Path) -> None:
    """Raises UserError for a metric that is unknown or cannot be loaded: before hours of tuning, not after."""
    check_metrics(judging, base=base)


def _user_files(judging: Judging, *, base: Path) -> dict[str, Path]:
    """The files of the user's own metrics: as the trial file names them, and where they stand."""
    files = (file for metric in computed_metrics(judging) for file in metric.files)
    return {file: (base / Path(file).expanduser()).resolve() for file in files}


def _copy_user_files(folder: TrialFolder, files: Mapping[str, Path]) -> None:
    """Copy the user's own metrics beside the trial's copy of its file, where their names lead from there."""
    for name, source in files.items():
        target = folder.root / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        if inside and source != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


@dataclass(frozen=True, slots=True)
class ScoreStep(StepDefaults):
    """The scores and diagnostics of every sample, and the texts that are set aside for judges."""

    folder: TrialFolder
    trial: Trial = field(repr=False)
    base: Path  # that the trial file's paths start from
    manifest: Manifest = field(repr=False)
    # gives the examples that the arms learned from, or None where they are not at hand
    training: Callable[[], Iterable[Example] | None] = field(repr=False)
    # gives the held-out examples, whose columns a metric of the user's own may read, or None where not at hand
    heldout: Callable[[], Iterable[Example] | None] = field(default=lambda: None, repr=False)
    after: tuple[str, ...] = ()
    name: str = "score"
    stage: Stage = Stage.SCORE
    subject: str = "scores"
    arm: str | None = None
    recorded: bool = True

    def inputs(self) -> Mapping[str, Any]:
        files = [path for arm in self.trial.arms if (path := self.folder.samples(arm)).exists()]
        judging = self._judging().model_dump(exclude=_NO_SCORE)
        metrics = _user_files(self.trial.judging, base=self.base).values()
        sliced = self._sliced()
        columns: dict[str, Any] = {"the columns of the data": self._data_columns()} if metrics or sliced else {}
        columns |= {"report.slices": sliced} if sliced else {}
        # older records name no judges; which they are does not matter here
        judged = {"whether a model judges": True} if self.trial.judging.judges else {}
        return {
            **columns,
            **judged,
            "the scoring": STEP_VERSION,
            "the samples": [self.manifest.file_hash(p.relative_to(self.folder.root).as_posix()) for p in files],
            "the user's own metrics": [hash_file(path) for path in metrics],
            **{f"judging.{key}": value for key, value in judging.items()},
        }

    def outputs(self) -> Sequence[Path]:
        columns = [self.folder.columns] if self.folder.columns.exists() else []
        return [self.folder.scores, self.folder.diagnostics, *columns]

    def beside(self) -> Sequence[Path]:
        return [self.folder.judging]

    def execute(self) -> None:
        """Write the scores and diagnostics, and set texts aside for judges. Raises UserError without samples."""
        folder, trial = self.folder, self.trial
        _copy_user_files(folder, _user_files(trial.judging, base=self.base))
        samples = [
            sample
            for arm in trial.arms
            if folder.samples(arm).exists()
            for sample in read_rows(folder.samples(arm), Sample)
        ]
        if not samples:
            raise UserError("there is nothing to score", fix="`finetrial run` tunes and samples first.")
        keep_first_judging(folder, trial=trial, base=self.base)
        examples = self.training()
        learned = None if examples is None else training_texts(examples)
        given = self._given()
        write_rows(folder.scores, (*self._scored(samples), *given))
        write_diagnosis(folder, diagnose(samples, training=learned, seed=trial.sampling.seed))
        judging = self._judging()
        if judging.grade_prompts or judging.judges:
            seed, title = trial.sampling.seed, trial.report.title or trial.trial
            # people grade the first training run's texts: several runs would be that many times the work
            graded = [sample for sample in samples if not sample.run]
            write_items(folder, graded, judging=judging, seed=seed, title=title)

    def _judging(self) -> Judging:
        """With as many prompts for people as were decided before anything was sampled."""
        return settled_judging(self.trial.judging, manifest=self.manifest.content)

    def _sliced(self) -> list[str]:
        """The columns by which the report compares arms; a prompt's length needs none."""
        return [name for name in self.trial.report.slices if name != LENGTH]

    def _data_columns(self) -> ColumnsByPrompt | None:
        """The columns of the held-out rows; None where the data are not at hand."""
        examples = self.heldout()
        return None if examples is None else data_columns(examples)

    def _scored(self, samples: Sequence[Sample]) -> list[Score]:
        """Every metric of every sample. The columns that metrics of the user's own read are stored beside them."""
        judging, read = self.trial.judging, set[str]()
        own = bool(_user_files(judging, base=self.base))
        sliced = set(self._sliced())
        at_hand = self._data_columns() if own or sliced else {}
        columns = stored_columns(self.folder) if at_hand is None else at_hand
        seen = with_columns(samples, columns, read=read) if own else samples
        scores = score_samples(seen, judging=judging, base=self.base)
        read |= {name for name in sliced if any(name in row for row in columns.values())}
        if at_hand is not None:
            asked = {sample.prompt_id for sample in samples}
            store_columns(self.folder, {k: row for k, row in columns.items() if k in asked}, read=read)
        return scores

    def _given(self) -> list[Score]:
        """The scores from elsewhere that stand in scores.jsonl already: of the very samples that are scored now.

        Raises UserError where the samples have changed since: these scores are of texts that are gone.
        """
        path = self.folder.scores
        given = given_scores(read_rows(path, Score)) if path.exists() else []
        record = self.manifest.records.get(self.name)
        noted = None if record is None else record.inputs.get("the samples")
        if given and noted is not None and noted != hash_value(self.inputs()["the samples"]):
            names = ", ".join(dict.fromkeys(score.metric for score in given))
            raise UserError(
                f"{path} holds scores from elsewhere ({names}) of samples that were sampled anew since",
                fix=f"Remove the file, or its rows of {names}, and score the new samples where these came from.",
            )
        return given


def score_trial(
    folder: TrialFolder,
    trial: Trial,
    *,
    manifest: Manifest,
    base: Path,
    training: Callable[[], Iterable[Example] | None],
    heldout: Callable[[], Iterable[Example] | None] = lambda: None,
) -> bool:
    """Score and diagnose every sample; set the prompts for blind grading aside. False where all was done already.

    `training` gives the examples that the arms learned from, `heldout` those that they answer, or None where these
    are not at hand. Raises UserError where nothing was sampled.
    """
    check_judging(trial.judging, base=base)
    return run_step(ScoreStep(folder, trial, base, manifest, training, heldout), manifest=manifest)
