"""Seal a trial before it is sampled: one digest over the trial file, its data, its prompts and the criterion.

Published before the first sample, the digest shows later that none of them was chosen with the answers in view:
`finetrial verify --seal DIGEST`. Paths are no part of it, so that a folder may move. report.title and the like may
change, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Sample
from finetrial.trial.data import examples_hash, read_splits
from finetrial.trial.examples import Splits
from finetrial.trial.schema import is_local
from finetrial.trial.subset import sampled_examples
from finetrial.trial.trial_file import LoadedTrial

SEAL_VERSION = 1
_SAYS_NOTHING = ("report",)  # keys of the trial file by which no answer and no judgement is another


_PLACES = ("source", "train", "validation", "heldout", "retain", "model", "adapter", "from", "trained_on")


def _portable(value: Any, *, key: str, loaded: LoadedTrial) -> Any:
    """A value with local files named by their last part: where they stand is no part of a trial."""
    if isinstance(value, Mapping):
        return {name: _portable(item, key=name, loaded=loaded) for name, item in value.items()}
    if key in _PLACES and isinstance(value, str) and is_local(value, base=loaded.base):
        return PurePath(value).name
    return value


def trial_content(loaded: LoadedTrial) -> dict[str, Any]:
    """What the trial file sets, as it was written or as a folder keeps it."""
    content = loaded.trial.model_dump(mode="json", exclude_unset=True)
    for name, arm in content["arms"].items():
        if arm.pop("prompt_file", None):  # its text stands in `template` once the file was read
            arm["method"] = loaded.trial.arms[name].method.name
    kept = {key: value for key, value in content.items() if key not in _SAYS_NOTHING}
    return {key: _portable(value, key=key, loaded=loaded) for key, value in kept.items()}


def data_content(splits: Splits) -> dict[str, str]:
    """The hash of each split after the cut."""
    return {name: examples_hash(rows) for name, rows in splits.by_name.items()}


def _prompts_hash(rows: Iterable[tuple[str, str | None, tuple[str, ...]]]) -> str:
    return hash_value(sorted([prompt_id, text, list(references)] for prompt_id, text, references in rows))


def prompts_of_samples(samples: Iterable[Sample]) -> str:
    """The hash of the prompts that were answered, with their references."""
    return _prompts_hash(dict.fromkeys((s.prompt_id, s.source, s.references) for s in samples))


def seal_content(loaded: LoadedTrial) -> dict[str, Any]:
    """What is sealed. Reads the data; raises UserError where they cannot be read."""
    splits = read_splits(loaded)
    prompts = sampled_examples(splits.heldout, sampling=loaded.trial.sampling)
    return {
        "version": SEAL_VERSION,
        "trial": trial_content(loaded),
        "data": data_content(splits),
        "prompts": _prompts_hash((e.id, e.prompt, e.references) for e in prompts),
        "criterion": loaded.trial.judging.criterion,
    }


def seal_digest(content: Mapping[str, Any]) -> str:
    """The digest that stands for a seal."""
    return hash_value(content)


def write_seal(folder: TrialFolder, content: Mapping[str, Any]) -> str:
    """Keep what was sealed as seal.json. Returns the digest."""
    atomic_text(folder.seal, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return seal_digest(content)


def read_seal(folder: TrialFolder) -> Mapping[str, Any] | None:
    """What seal.json says; None where there is none. Raises UserError for what is no seal."""
    if not folder.seal.exists():
        return None
    try:
        content = json.loads(folder.seal.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder.seal} is not JSON", got=str(error)) from None
    if not isinstance(content, dict) or content.get("version") != SEAL_VERSION:
        raise UserError(f"{folder.seal} is not a seal", expected=f"version {SEAL_VERSION}")
    return content
