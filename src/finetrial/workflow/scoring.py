"""Score a trial: read its samples, write scores.jsonl and diagnostics.jsonl, unless both are current."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.diagnose import diagnose
from finetrial.evidence.diagnosis_file import write_diagnosis
from finetrial.evidence.first_judging import keep_first_judging
from finetrial.evidence.scoring import check_metrics, computed_metrics, given_scores, score_samples
from finetrial.judging.blinding import write_items
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample, Score, read_rows, write_rows
from finetrial.store.steps import Manifest
from finetrial.trial.examples import Example
from finetrial.trial.schema import Judging, Trial

# Goes up when the step comes to write something else from the same records.
STEP_VERSION = 2
# Of the judging settings, those that only a report reads.
_NO_SCORE = {"margin", "requests"}


def check_judging(judging: Judging, *, base: Path) -> None:
    """Raises UserError for a metric that is unknown or cannot be loaded: before hours of tuning, not after."""
    check_metrics(judging, base=base)


def training_texts(examples: Iterable[Example]) -> list[str]:
    """What the arms learned from, as diagnostics look for copies of it."""
    return [text for example in examples for text in (example.prompt, *example.references)]


def _keep_own_functions(folder: TrialFolder, *, judging: Judging, base: Path) -> list[str]:
    """Copy the user's own metrics beside the trial's copy of its file, where their names lead from there."""
    hashes = []
    for file in (file for metric in computed_metrics(judging) for file in metric.files):
        source = (base / Path(file).expanduser()).resolve()
        target = folder.root / file
        inside = not Path(file).is_absolute() and ".." not in Path(file).parts
        if inside and source != target.resolve():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        hashes.append(hash_file(source))
    return hashes


def score_inputs(folder: TrialFolder, trial: Trial, *, own: Sequence[str]) -> dict[str, Any]:
    """Everything that decides the scores, by the name a user knows it by."""
    files = [folder.samples(arm) for arm in trial.arms if folder.samples(arm).exists()]
    return {
        "the scoring": STEP_VERSION,
        "the samples": [hash_file(path) for path in files],
        "the user's own metrics": list(own),
        **{f"judging.{key}": value for key, value in trial.judging.model_dump(exclude=_NO_SCORE).items()},
    }


def _given(folder: TrialFolder, *, manifest: Manifest, inputs: Mapping[str, Any]) -> list[Score]:
    """The scores from elsewhere that stand in scores.jsonl already: of the very samples that are scored now.

    Raises UserError where the samples have changed since: these scores are of texts that are gone.
    """
    given = given_scores(read_rows(folder.scores, Score)) if folder.scores.exists() else []
    noted = manifest.content["steps"].get("score", {}).get("inputs", {}).get("the samples")
    if given and noted is not None and noted != hash_value(inputs["the samples"]):
        names = ", ".join(dict.fromkeys(score.metric for score in given))
        raise UserError(
            f"{folder.scores} holds scores from elsewhere ({names}) of samples that were sampled anew since",
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
) -> bool:
    """Score and diagnose every sample; set the prompts for blind grading aside. False where all was done already.

    `training` gives the examples that the arms learned from, or None where they are not at hand. Raises UserError
    where nothing was sampled.
    """
    check_judging(trial.judging, base=base)
    own = _keep_own_functions(folder, judging=trial.judging, base=base)
    inputs = score_inputs(folder, trial, own=own)
    if manifest.state("score", inputs=inputs).current:
        return False
    samples = [
        sample
        for arm in trial.arms
        if folder.samples(arm).exists()
        for sample in read_rows(folder.samples(arm), Sample)
    ]
    if not samples:
        raise UserError("there is nothing to score", fix="`finetrial run` tunes and samples first.")
    keep_first_judging(folder, judging=trial.judging)
    examples = training()
    learned = None if examples is None else training_texts(examples)
    given = _given(folder, manifest=manifest, inputs=inputs)
    write_rows(folder.scores, (*score_samples(samples, judging=trial.judging, base=base), *given))
    write_diagnosis(folder, diagnose(samples, training=learned, seed=trial.sampling.seed))
    if trial.judging.grade_prompts:
        seed, title = trial.sampling.seed, trial.report.title or trial.trial
        # people grade the first training run's texts: several runs would be that many times the work
        graded = [sample for sample in samples if not sample.run]
        write_items(folder, graded, judging=trial.judging, seed=seed, title=title)
    manifest.finish("score", inputs=inputs, outputs=[folder.scores, folder.diagnostics])
    return True
