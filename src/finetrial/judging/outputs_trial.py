"""Make a trial folder from a file of outputs from anywhere, to be graded, scored and reported.

The rows hold prompt, arm and text, and optionally reference(s), source and group. The folder gets
samples/<arm>.jsonl, a trial.yaml whose arms are external, and a manifest that says `outputs_only`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from finetrial.errors import UserError
from finetrial.evidence.outputs_file import holds_outputs, read_outputs_file
from finetrial.store.compressed_files import plain_stem
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_path
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.records import Sample, read_rows, write_rows
from finetrial.trial.schema import OwnLabels, Scale
from finetrial.trial.trial_file import OUTPUTS_ONLY, LoadedTrial, load_trial

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Outputs:
    """A file of outputs as samples. `renamed` holds arms whose names could not be file names."""

    samples: tuple[Sample, ...]
    arms: tuple[str, ...]
    renamed: Mapping[str, str]


def read_outputs(path: Path) -> Outputs:
    """The samples of a .jsonl, .csv or .tsv file, arms named so that files can bear their names.

    Raises UserError with the line that is wrong.
    """
    if not path.exists():
        raise UserError(f"there is no file {path}", expected="a file of samples, one row each")
    found = read_outputs_file(path)
    if found.counts:
        raise UserError(
            f"{path} holds counts of good answers, and no texts to grade",
            fix=f"`finetrial score {path}` says what the counts support.",
        )
    names: dict[str, str] = {}
    for stated in found.arms:
        names[stated] = _arm_name(stated, taken=set(names.values()), path=path)
    samples = tuple(
        dataclasses.replace(s, arm=names[s.arm], id=f"{names[s.arm]}/{s.prompt_id}/{s.index}")
        for s in found.samples
    )
    return Outputs(samples, tuple(names.values()), {k: v for k, v in names.items() if k != v})


def _arm_name(stated: str, *, taken: set[str], path: Path) -> str:
    """The arm's name as a file can bear it: letters, digits, _ and -."""
    base = _NOT_IN_A_NAME.sub("-", stated).strip("-_")
    if not base:
        raise UserError(f"{path}: an arm has no name that a file can bear", got=repr(stated))
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _trial_text(
    outputs: Outputs, *, path: Path, title: str, criterion: str | None, grade: Mapping[str, Any]
) -> str:
    referenced = any(sample.references for sample in outputs.samples)
    per_prompt = max(sample.index for sample in outputs.samples) + 1
    prompts = len({sample.prompt_id for sample in outputs.samples})
    content = {
        "trial": title,
        "model": OUTPUTS_ONLY,
        "data": {"source": str(path.resolve())},
        "arms": {arm: {"method": "external", "model": OUTPUTS_ONLY} for arm in outputs.arms},
        "sampling": {"prompts": prompts, "per_prompt": per_prompt},
        # without references there is nothing to compute: people's grades decide alone
        "judging": {**({} if referenced else {"primary": "grade", "metrics": []}), "criterion": criterion, **grade},
    }
    header = "# Outputs only: the texts came from elsewhere, no model was run here.\n"
    return header + str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def is_outputs(path: Path) -> bool:
    """True where the path names a file of outputs rather than a trial."""
    return holds_outputs(path)


def _title(path: Path) -> str:
    return _NOT_IN_A_NAME.sub("-", plain_stem(path)).strip("-_") or "outputs"


def folder_of_outputs(path: Path, *, out: Path | None) -> TrialFolder:
    """The trial folder of a file of outputs, whether it is there or not."""
    return TrialFolder(out if out is not None else path.parent / "runs" / _title(path))


def trial_of_outputs(
    path: Path,
    *,
    out: Path | None,
    criterion: str | None = None,
    prompts: int | None = None,
    raters: int | None = None,
    repeats: float | None = None,
    grade_references: bool = False,
    scale: Scale | None = None,
) -> tuple[LoadedTrial, TrialFolder, Outputs]:
    """Make (or open again) the trial folder of a file of outputs: `out`, or runs/<file's name> beside the file.

    An option left out keeps what an existing folder says; `prompts` are graded, all unless given. A folder that
    holds a trial of another kind is refused.
    """
    outputs = read_outputs(path)
    title, folder = _title(path), folder_of_outputs(path, out=out)
    held = load_trial(folder.root).trial if folder.trial.exists() else None
    if held is not None and held.model != OUTPUTS_ONLY:
        raise UserError(f"{folder.root} is the folder of another trial", fix="Give another one with --out.")
    if grade_references and not any(sample.references for sample in outputs.samples):
        raise UserError(
            f"{path} has no references to mix in", fix="Leave out --references, or add a column `reference`."
        )
    was = held.judging if held is not None else None
    grade = {
        "grade_prompts": prompts or (was.grade_prompts if was else len({s.prompt_id for s in outputs.samples})),
        "raters": raters or (was.raters if was else 1),
        "repeats": repeats if repeats is not None else (was.repeats if was else 0.0),
        "grade_references": grade_references or bool(was and was.grade_references),
        "scale": _scale_content(scale or (was.scale if was else "good_bad")),
    }
    kept = criterion if criterion is not None else (was.criterion if was else None)
    atomic_text(folder.trial, _trial_text(outputs, path=path, title=title, criterion=kept, grade=grade))
    for arm in outputs.arms:
        write_rows(folder.samples(arm), [sample for sample in outputs.samples if sample.arm == arm])
    facts = {"outputs_only": True, "source": str(path.resolve()), "source_sha256": hash_path(path)}
    Manifest(folder.manifest).describe(facts)
    return load_trial(folder.root), folder, outputs


def _scale_content(scale: Scale) -> object:
    return scale if isinstance(scale, str) else scale.model_dump(mode="json")


def parse_scale(text: str) -> Scale:
    """A scale as the command line names it: good_bad, 1-5, or labels with a + before those that count as good.

    Raises UserError for anything else.
    """
    if text == "good_bad":
        return "good_bad"
    if text == "1-5":
        return "1-5"
    parts = [part.strip() for part in text.split(",")]
    labels = [part.removeprefix("+").strip() for part in parts]
    good = [label for label, part in zip(labels, parts, strict=True) if part.startswith("+")]
    try:
        return OwnLabels(labels=tuple(labels), good=tuple(good))
    except ValidationError as error:
        raise UserError(
            "--scale is not understood",
            got=f"{text!r}: {error.errors()[0]['msg'].removeprefix('Value error, ')}",
            expected="good_bad, 1-5, or labels such as +excellent,+usable,poor: a + says that one counts as good",
        ) from None


def samples_of(folder: TrialFolder, arms: Sequence[str]) -> list[Sample]:
    """The samples of all arms that have any."""
    return [s for arm in arms if folder.samples(arm).exists() for s in read_rows(folder.samples(arm), Sample)]
