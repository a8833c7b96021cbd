"""Read a configuration of whichever tool it is, and settle what its data decide: rows, steps and shares."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from finetrial.errors import UserError
from finetrial.imports import axolotl, llama_factory, llama_factory_v1, mlx, torchtune, trl_sft
from finetrial.imports.imported_run import ImportedRun, find_file, merged
from finetrial.imports.unsloth import read_script
from finetrial.trial.draft_file import likely_tokens
from finetrial.trial.drafts import Draft, read_drafts
from finetrial.trial.foreign_config import SCRIPTS, UNSLOTH, recognised
from finetrial.trial.schema import Data, is_local
from finetrial.trial.sources import parse_source, read_source, read_splits_of
from finetrial.trial.split import default_count

Reader = Callable[..., ImportedRun]
READERS: Mapping[str, Reader] = {
    module.TOOL: module.read for module in (llama_factory, llama_factory_v1, axolotl, torchtune, mlx, trl_sft)
}
# What a run says of any data, and what stays where others are named.
_OF_THE_RUN = ("max_tokens", "overlong", "validation", "template", "chat", "special_tokens")
# Where no row can be read, a row is taken for so many tokens. Assumption
_TOKENS_A_ROW = 256


@dataclass(frozen=True, slots=True)
class Settled:
    """A run with what its rows decide. `completions` are empty where no row could be read."""

    run: ImportedRun
    rows: int | None
    row_tokens: float  # a row's, on average
    heldout: int | None = None  # rows to sample from; None: not known
    completions: tuple[str, ...] = field(default=(), repr=False)

    @property
    def batch_tokens(self) -> int:
        return max(1, round(self.run.batch_rows * self.row_tokens))


def read_config(path: Path) -> ImportedRun:
    """The run of a configuration file, notebook or script. Raises UserError where no tool is known by it."""
    if not path.is_file():
        raise UserError(f"there is no file {path}", expected="a configuration of " + ", ".join(_names()))
    near = (path.parent.resolve(), Path.cwd())
    if path.suffix in SCRIPTS:
        return read_script(path, near=near)
    content = _content(path)
    tool = recognised(content)
    if tool is None:
        raise UserError(
            f"{path} is no configuration that is known here",
            got="keys " + ", ".join(map(str, list(content)[:8])),
            expected="one of " + ", ".join(_names()),
        )
    return READERS[tool.name](content, near=near)


def _names() -> list[str]:
    return [*READERS, f"{UNSLOTH} (a notebook or script)"]


def _content(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read", got=str(error).split("\n", 1)[0]) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings", got=type(content).__name__, expected="keys with values")
    return content


def with_choices(run: ImportedRun, *, model: str | None, data: str | None, near: Sequence[Path]) -> None:
    """Put the user's own model and data into the run. Raises UserError where it has neither of its own."""
    if model is not None:
        run.model = model
    if data is not None:
        kept = {key: run.data[key] for key in _OF_THE_RUN if key in run.data}
        run.data = kept | {"source": data}
    if run.model is None:
        raise UserError("the configuration names no model", fix="Name it: --model MODEL.")
    if run.data.get("source") is None:
        raise UserError(
            "the configuration names no data that a trial reads", got=run.no_data, fix="Name them: --data FILE."
        )
    if (found := find_file(run.model, near=near)) is not None:
        run.model = str(found)


def settle(run: ImportedRun, *, base: Path) -> Settled:
    """Turn steps into shares and epochs, and rows of a step into tokens, by the rows where they are here."""
    found = _rows(run, base=base)
    drafts = () if found is None else found.train
    most = float(run.data.get("max_tokens", 512))
    if drafts:
        tokens = sum(min(most, _tokens(draft)) for draft in drafts) / len(drafts)
    else:
        tokens = float(_TOKENS_A_ROW)
        run.notes.append(
            f"the rows are not here, and a row is taken for {_TOKENS_A_ROW} tokens: see training.batch_tokens"
        )
    trained = len(drafts)
    if found is not None:
        trained -= _cut_validation(run, found) + _cut_heldout(run, found)
    steps_an_epoch = max(0, trained) / run.batch_rows
    if run.max_steps is not None and steps_an_epoch:
        run.arm["epochs"] = round(run.max_steps / steps_an_epoch, 3)
    elif run.max_steps is not None:
        run.arm.setdefault("epochs", 1.0)
        run.notes.append(f"{run.max_steps:,} steps cannot be told in epochs without the rows: set arms.*.epochs")
    if run.warmup_steps:
        _warm_up(run, steps_an_epoch=steps_an_epoch)
    completions = tuple(d.example.references[0] for d in drafts if d.example.references)
    if found is None:
        return Settled(run, None, tokens)
    return Settled(run, len(drafts), tokens, found.heldout or run.data["heldout"], completions)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The training rows that are here, and which splits stand beside them."""

    train: list[Draft]
    others: frozenset[str]
    heldout: int | None  # rows of a held-out split of its own


def _cut_validation(run: ImportedRun, found: _Rows) -> int:
    """How many rows are cut from the training source for validation."""
    if "validation" in found.others:
        run.data.pop("validation", None)
        return 0
    if run.validation_share is not None:
        run.data["validation"] = max(1, round(run.validation_share * len(found.train)))
    return int(run.data.get("validation", default_count(len(found.train))))


def _cut_heldout(run: ImportedRun, found: _Rows) -> int:
    """How many rows are cut from the training source to hold out."""
    if "heldout" in found.others:
        return 0
    held = default_count(len(found.train))
    run.data["heldout"] = held
    those = "row is" if held == 1 else "rows are"
    run.notes.append(f"{held} {those} held out, which that run may have been tuned on too")
    return held


def _warm_up(run: ImportedRun, *, steps_an_epoch: float) -> None:
    total = steps_an_epoch * float(run.arm.get("epochs", 1.0))
    if not total:
        run.notes.append(f"{run.warmup_steps} steps of warm-up are no share without the rows: set training.warmup")
        return
    assert run.warmup_steps is not None
    run.training["warmup"] = round(min(0.99, run.warmup_steps / total), 4)


def _tokens(draft: Draft) -> float:
    example = draft.example
    return likely_tokens(example.prompt + "".join(example.references[:1]))


def _rows(run: ImportedRun, *, base: Path) -> _Rows | None:
    """The rows of the training source; None where it is on the hub or cannot be read as the run says."""
    source = run.data["source"]
    name = source["train"] if isinstance(source, dict) else source
    if not is_local(parse_source(name, base=base).place, base=base):
        return None
    settings = {key: run.data[key] for key in ("format", "prompt", "completion") if run.data.get(key)}
    try:
        tables = read_splits_of(name, base=base, revision=None)
        data = Data.model_validate(merged(settings) | {"source": name, "empty": "drop"})
        train = read_drafts(tables["train"], data=data)
    except UserError as error:
        run.notes.append(f"the rows cannot be read as they stand: {error}")
        return None
    if isinstance(source, dict):
        try:
            tables |= {split: read_source(name, base=base, revision=None) for split, name in source.items()}
        except UserError as error:
            run.notes.append(f"not every split can be read: {error}")
    heldout = len(tables["heldout"].rows) if "heldout" in tables else None
    return _Rows(train, frozenset(set(tables) - {"train"}), heldout)
