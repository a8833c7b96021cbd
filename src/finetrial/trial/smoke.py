"""Shrink a trial to ten rows, so that its whole path can be taken in a minute before it is run in hours.

What is left is a trial of its own in a folder of its own: nothing of it is evidence, and nothing of it is read by
the real run. It keeps the model, the arms, their methods, targets and templates; a searched learning rate becomes
the method's default, and each arm is tuned once, in a few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from finetrial.store.layout import TrialFolder
from finetrial.trial.arms import Arm
from finetrial.trial.examples import Example, Splits
from finetrial.trial.schema import Trial
from finetrial.trial.trial_file import LoadedTrial

ROWS = 10  # of the training split, more where an arm shows more examples in its prompt
_EVALUATED = 4  # rows to validate on, and prompts to sample
_GRADED = 2  # prompts that are set aside
_NEW_TOKENS = 64  # of a sample, at most, where the trial file sets a limit
_STEPS = 3
_BYTES_A_TOKEN = 4  # of text, about. Assumption
FOLDER_END = "+smoke"  # no trial's name holds a +


def smoke_folder(folder: TrialFolder) -> TrialFolder:
    """Where the smoke run of a trial stands: beside its folder."""
    name = folder.root.name
    return folder if name.endswith(FOLDER_END) else TrialFolder(folder.root.with_name(name + FOLDER_END))


def smoke_trial(loaded: LoadedTrial, splits: Splits) -> LoadedTrial:
    """The trial on ten rows. `splits` are the whole trial's."""
    trial = loaded.trial
    train = _rows_of(splits.train, most=max(ROWS, *(2 + (arm.shots or 0) for arm in trial.arms.values())))
    heldout, graded = min(_EVALUATED, len(splits.heldout)), trial.judging.grade_prompts
    sections = {
        "data": trial.data.model_copy(
            update={"train": train, "validation": min(_EVALUATED, len(splits.validation)), "heldout": heldout}
        ),
        "arms": {name: _smoke_arm(arm) for name, arm in trial.arms.items()},
        "training": trial.training.model_copy(update=_training(trial, splits.train[:train])),
        "sampling": trial.sampling.model_copy(update=_sampling(trial, heldout=heldout)),
        # no judge is asked: what is no evidence should cost nothing
        "judging": trial.judging.model_copy(
            update={
                "grade_prompts": _GRADED if graded == "auto" else min(_GRADED, graded),
                "pilot": None,
                "judges": (),
                "estimator": "people",
            }
        ),
        "report": trial.report.model_copy(
            update={"title": f"Smoke run of {trial.report.title or trial.trial}: ten rows, and no evidence"}
        ),
    }
    return replace(loaded, trial=trial.model_copy(update=sections))


def left_out(trial: Trial) -> list[str]:
    """What the smoke run of a trial does not try, in words."""
    searched = [name for name, arm in trial.arms.items() if arm.tuned and trial.rate_of(name) == "auto"]
    words = [f"the search of a learning rate ({', '.join(searched)})"] if searched else []
    if trial.training.seeds > 1:
        words.append(f"{trial.training.seeds - 1} of {trial.training.seeds} seeds")
    return words + [f"the judge {judge.name}" for judge in trial.judging.judges]


def _rows_of(examples: Sequence[Example], *, most: int) -> int:
    return min(most, len(examples))


def _smoke_arm(arm: Arm) -> Arm:
    changed: dict[str, Any] = {"epochs": 1.0} if arm.epochs is not None else {}
    if arm.rows is not None:
        changed["rows"] = None
    if arm.learning_rate == "auto":
        changed["learning_rate"] = None
    return arm.model_copy(update=changed)


def _training(trial: Trial, rows: Sequence[Example]) -> dict[str, Any]:
    """A few steps of one epoch, once; trackers hear of the real run alone."""
    size = sum(len(text.encode()) for row in rows for text in (row.prompt, *row.references[:1]))
    changed: dict[str, Any] = {
        "epochs": 1.0,
        "seeds": 1,
        "trackers": (),
        "evaluations": 1,
        "batch_tokens": max(1, min(trial.training.batch_tokens, size // _BYTES_A_TOKEN // _STEPS)),
    }
    return changed | ({"learning_rate": None} if trial.training.learning_rate == "auto" else {})


def _sampling(trial: Trial, *, heldout: int) -> dict[str, Any]:
    sampling = trial.sampling
    changed: dict[str, Any] = {"prompts": min(sampling.prompts, heldout), "per_prompt": 1}
    if sampling.max_new_tokens != "auto":
        changed["max_new_tokens"] = min(_NEW_TOKENS, sampling.max_new_tokens)
    return changed
