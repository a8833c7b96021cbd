"""Check the manifest: that every step is noted that a report needs, what it wrote, and what it consumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetrial.evidence.early_findings import pilots_of
from finetrial.evidence.sample_scores import computed_metrics, given_scores
from finetrial.reporting.describe import at_path
from finetrial.reporting.verify.tally import Tally
from finetrial.store.hashes import hash_file, hash_path, hash_value
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.left_out import original_hashes
from finetrial.store.records import Score, read_rows
from finetrial.trial.graded_prompts import graded_prompts
from finetrial.trial.schema import Trial
from finetrial.trial.trial_file import OUTPUTS_ONLY, LoadedTrial

# Of an arm's folder, what a report reads; the rest may be left out of a copied folder.
_READ_OF_ARMS = ("measured.json", "metrics.jsonl", "search.json", "retain.jsonl")

# of the training settings: what changes no weight, and what stands elsewhere
_NOT_RECORDED = ("checkpointing", "sharding", "epochs", "learning_rate")


def is_outputs_only(trial: Trial) -> bool:
    """Whether every text of the trial came from elsewhere, so that no step sampled it."""
    return trial.model == OUTPUTS_ONLY and all(arm.method.is_from_elsewhere for arm in trial.arms.values())


def _required(folder: TrialFolder, trial: Trial) -> Iterator[tuple[str, str | None]]:
    """The steps that a report of this trial needs, each with a file that it must have written."""
    for name in () if is_outputs_only(trial) else trial.arms:
        if folder.samples(name).exists():
            for run in range(trial.runs_of(name)):
                yield f"tune:{run_name(name, run=run)}", None
            if trial.runs_of(name) and trial.rate_of(name) == "auto":
                yield f"search:{name}", f"arms/{name}/search.json"
            yield f"sample:{name}", f"samples/{name}.jsonl"
    if folder.early.exists():
        yield "early", "early.json"
        for arm, pilots in pilots_of(folder, trial).items():
            for pilot in pilots:
                record = folder.pilot(arm, part=pilot.part).relative_to(folder.root).as_posix()
                yield f"pilot:{arm}@1in{pilot.part}", record
    yield "score", "scores.jsonl"
    if folder.diagnostics.exists():
        yield "score", "diagnostics.jsonl"


def check_steps(folder: TrialFolder, loaded: LoadedTrial, manifest: Mapping[str, Any], *, tally: Tally) -> None:
    """Compare the manifest with the trial file and with the files that the steps wrote."""
    steps = manifest.get("steps")
    steps = steps if isinstance(steps, Mapping) else {}
    for step, file in dict.fromkeys(_required(folder, loaded.trial)):
        record = steps.get(step)
        if not isinstance(record, Mapping):
            tally.differs(f"manifest.json: the step {step}", None, "a record of it")
        elif file is not None and file not in (record.get("outputs") or {}):
            tally.differs(f"manifest.json: {file}, written by the step {step}", None, "its hash")
    if bool(manifest.get("outputs_only")) != is_outputs_only(loaded.trial):
        tally.differs("manifest.json: outputs_only", manifest.get("outputs_only"), is_outputs_only(loaded.trial))
    for step, record in steps.items():
        for kind in ("outputs", "beside"):
            for name, noted in (record.get(kind) or {}).items():
                _check_file(folder, name, noted, step=step, tally=tally)
        for name, noted in (record.get("inputs") or {}).items():
            _check_input(name, noted, step=step, folder=folder, loaded=loaded, manifest=manifest, tally=tally)
    if is_outputs_only(loaded.trial):
        _check_source(manifest, tally=tally)


def _check_file(folder: TrialFolder, name: str, noted: str, *, step: str, tally: Tally) -> None:
    path, originals = folder.root / name, original_hashes(folder)
    if (name in originals) and originals[name] == noted:
        tally.agreed["files"] += 1  # what held the texts, by the hash that is recorded of it
        return
    if (
        not path.exists()
        and name.startswith("arms/")
        and path.suffix in (".safetensors", ".json", ".txt", ".jinja")
    ):
        tally.not_looked_at(f"{name}, which is not here; the report does not read it")
        return
    now = hash_file(path) if path.exists() else None
    if now == noted or (path == folder.scores and path.exists() and _hash_of_computed(path) == noted):
        tally.agreed["files"] += 1
    else:
        tally.differs(f"{name}, as the step {step} wrote it", noted, now or "no such file")


def _hash_of_computed(path: Path) -> str:
    """The hash of scores.jsonl without the rows from elsewhere, which may be added to it after the step."""
    given = {score.metric for score in given_scores(read_rows(path, Score))}
    lines = path.read_bytes().splitlines(keepends=True)
    kept = (line for line in lines if line.strip() and json.loads(line)["metric"] not in given)
    return hashlib.sha256(b"".join(kept)).hexdigest()


def _check_input(
    name: str,
    noted: str,
    *,
    step: str,
    folder: TrialFolder,
    loaded: LoadedTrial,
    manifest: Mapping[str, Any],
    tally: Tally,
) -> None:
    """Compare what a step consumed with what the trial file and the manifest say now, where these say it."""
    kind, _, subject = step.partition(":")
    arm, _, number = subject.partition("@")
    run = int(number) if number and kind != "pilot" else 0  # every pilot has the first run's seed
    if kind in ("tune", "sample", "search", "pilot") and arm not in loaded.trial.arms:
        return  # an arm that was taken out of the trial file; nothing of it is read
    found = list(_candidates(name, arm=arm, run=run, folder=folder, loaded=loaded, manifest=manifest))
    if not found:
        return
    if noted in {hash_value(value) for value in found}:
        tally.agreed["settings"] += 1
    elif _is_left_to_its_default(name, loaded.trial):  # which another version may have set otherwise
        tally.not_looked_at(f"{name}, which the trial file leaves to its default: the step {step} had another one")
    else:
        tally.differs(f"{name}, as the step {step} consumed it", noted, found[0])


def _candidates(
    name: str, *, arm: str, run: int, folder: TrialFolder, loaded: LoadedTrial, manifest: Mapping[str, Any]
) -> Iterator[Any]:
    """What a step may have consumed under a name: the trial file's value, and what its `auto` came to."""
    trial = loaded.trial
    section, _, key = name.partition(".")
    own = trial.arms.get(arm)
    resolved = at_path(manifest, "resolved", arm)
    if isinstance(resolved, Mapping) and key in resolved and section in ("sampling", "data"):
        yield resolved[key]
    match section:
        case "judging" if key == "grade_prompts":
            yield graded_prompts(trial.judging, manifest=manifest)
        case "judging" | "data":
            yield from _values(getattr(trial, section), key)
        case "sampling" if key not in ("engine",):
            values = [] if isinstance(resolved, Mapping) and key in resolved else list(_values(trial.sampling, key))
            yield from values
            if values == [type(trial.sampling).model_fields[key].default]:
                yield None  # a key that came later is noted only where it is not what it always was
        case "training" if own is not None and key not in _NOT_RECORDED:
            for value in _values(trial.training, key):
                yield value + run if key == "seed" else value
        case "arms" if own is not None:
            last = key.partition(".")[2]
            held = [value for holder in (own, own.method) for value in _values(holder, last)]
            held += [trial.rate_of(arm)] * (last == "learning_rate") + [own.method.name] * (last == "method")
            yield from (value for value in held if value is not None)  # a default stands in for what is not given
        case "the template" if own is not None:
            yield from (text for text in (own.template, trial.data.template) if text is not None)
        case "the samples":
            files = [path for each in trial.arms if (path := folder.samples(each)).exists()]
            originals = original_hashes(folder)
            yield [originals.get(f"samples/{path.name}") or hash_file(path) for path in files]
        case "the user's own metrics":
            paths = dict.fromkeys(file for metric in computed_metrics(trial.judging) for file in metric.files)
            places = [loaded.path(file) for file in paths]
            if all(place.exists() for place in places):
                yield [hash_file(place) for place in places]


def _is_left_to_its_default(name: str, trial: Trial) -> bool:
    section, _, key = name.partition(".")
    held = getattr(trial, section, None) if section in ("judging", "data", "sampling", "training") else None
    return held is not None and key in type(held).model_fields and key not in held.model_fields_set


def _values(holder: Any, key: str) -> Iterator[Any]:
    """The value of a key as the steps hash it."""
    if hasattr(type(holder), "model_fields") and key in type(holder).model_fields:
        yield holder.model_dump(include={key})[key]
    elif hasattr(holder, key):
        yield getattr(holder, key)


def _check_source(manifest: Mapping[str, Any], *, tally: Tally) -> None:
    """Compare the file that the texts came from with the hash that it had."""
    source = Path(str(manifest.get("source")))
    if not source.exists():
        tally.not_looked_at(f"the texts' source, {source.name}: it is not here")
    else:
        tally.compare(
            f"{source.name}, the texts' source", manifest.get("source_sha256"), hash_path(source), kind="files"
        )
