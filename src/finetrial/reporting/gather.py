"""Read from a trial folder what a report needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.reporting.formats import power_of_ten
from finetrial.store.grades import grading_state
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.plan_record import planned_figures
from finetrial.store.records import (
    Measured,
    Sample,
    Score,
    TrainingPoint,
    check_records_version,
    read_object,
    read_rows,
)
from finetrial.store.run_time import RunTime, read_run_time
from finetrial.store.search import RateSearch, read_search
from finetrial.trial.arms import Arm
from finetrial.trial.graded_prompts import graded_prompts
from finetrial.trial.schema import Trial
from finetrial.trial.subset import grading_prompts
from finetrial.trial.trial_file import LoadedTrial, load_trial


@dataclass(frozen=True, slots=True)
class ArmRecords:
    """What one arm left behind; empty or None where it has not run."""

    name: str
    arm: Arm
    measured: Measured | None
    planned: Mapping[str, Any]  # plan.json's figures for this arm, with measured.json's keys
    points: tuple[TrainingPoint, ...]
    samples: tuple[Sample, ...]
    more_runs: tuple[Measured, ...]  # of the training runs after the first
    search: RateSearch | None  # for the learning rate, where one was made


@dataclass(frozen=True, slots=True)
class TrialRecords:
    """One trial folder, read once."""

    folder: TrialFolder
    trial: Trial
    arms: tuple[ArmRecords, ...]  # in the trial file's order
    scores: tuple[Score, ...]
    manifest: Mapping[str, Any]
    provenance: dict[str, str]  # of the last run, as a report words it: label -> text
    data: Mapping[str, Any]  # the data gate's findings
    written_by_program: bool  # the base model learned text that a program wrote
    run_time: RunTime | None  # of a run that had all of its plan before it
    grades_locked: bool  # grading is over: which arm wrote what may be known
    texts_left_out: bool = False  # length and hash stand for prompts, answers, references and raters' notes

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(sample for arm in self.arms for sample in arm.samples)

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        """The ids of all sampled prompts in the order of the sample files."""
        return tuple(dict.fromkeys(sample.prompt_id for sample in self.samples))

    @property
    def set_aside(self) -> frozenset[str]:
        """The prompts that people are to grade blind."""
        count = graded_prompts(self.trial.judging, manifest=self.manifest)
        return grading_prompts(self.prompt_ids, count=count, seed=self.trial.sampling.seed)


def _read_json(path: Path) -> Mapping[str, Any]:
    """A JSON object, empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON", got=str(error), fix="Remove it and run the trial again.") from None
    return content if isinstance(content, dict) else {}


# What the manifest says of the last run alone: a later one notes it anew, and no number depends on it.
PROVENANCE = ("command", "interface", "deterministic", "set", "versions", "device")


def _flat(value: Any) -> str:
    """A manifest's value in words; nested ones as `name value, name value`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return " ".join(_flat(item) for item in value)
    return power_of_ten(value) if isinstance(value, float) else str(value)


def manifest_facts(manifest: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """What the manifest says under these names, in words: label -> text; nothing where it says nothing."""
    said = {name: manifest.get(name) for name in names}
    return {
        name.replace("_", " ").capitalize(): _flat(value)
        for name, value in said.items()
        if value not in (None, "", {}, [])
    }


def _read_arm(folder: TrialFolder, name: str, *, trial: Trial, planned: Mapping[str, Any]) -> ArmRecords:
    arm, searches = trial.arms[name], trial.rate_of(name) == "auto"
    measured, metrics, samples = folder.measured(name), folder.metrics(name), folder.samples(name)
    more = [folder.measured(run_name(name, run=run)) for run in range(1, trial.runs_of(name))]
    return ArmRecords(
        name=name,
        arm=arm,
        measured=read_object(measured, Measured) if measured.exists() else None,
        planned=planned,
        points=tuple(read_rows(metrics, TrainingPoint)) if metrics.exists() else (),
        samples=tuple(read_rows(samples, Sample)) if samples.exists() else (),
        more_runs=tuple(read_object(path, Measured) for path in more if path.exists()),
        search=read_search(folder.search(name)) if searches else None,
    )


def _is_written_by_program(loaded: LoadedTrial) -> bool:
    folder = Path(loaded.model_source(loaded.trial.model))
    return folder.is_dir() and _read_json(folder / "manifest.json").get("written_by_program") is True


def gather(folder: TrialFolder, *, scores: Sequence[Score] | None = None) -> TrialRecords:
    """Read a trial folder, however far its trial has come. `scores` stand in for those of scores.jsonl.

    Raises UserError where there is no trial.
    """
    if not folder.root.is_dir():
        raise UserError(f"there is no trial folder {folder.root}", fix="`finetrial run TRIAL.yaml` makes one.")
    check_records_version(folder.manifest)
    loaded = load_trial(folder.root)
    planned = planned_figures(folder.plan)
    arms = tuple(
        _read_arm(folder, name, trial=loaded.trial, planned=planned.get(name, {})) for name in loaded.trial.arms
    )
    if scores is None:
        scores = list(read_rows(folder.scores, Score)) if folder.scores.exists() else []
    manifest = _read_json(folder.manifest)
    return TrialRecords(
        folder=folder,
        trial=loaded.trial,
        arms=arms,
        scores=tuple(scores),
        manifest=manifest,
        provenance=manifest_facts(manifest, PROVENANCE),
        data=_read_json(folder.data),
        written_by_program=_is_written_by_program(loaded),
        run_time=read_run_time(folder.run_time),
        grades_locked=grading_state(folder).locked_at is not None,
    )
