"""Define the rows of every file of a trial folder, and read and write them.

This module alone defines the rows. Absent is None. A file of rows is JSON Lines in UTF-8, one object a line.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from finetrial.errors import UserError
from finetrial.store.files import atomic_text

# Goes up when a row changes so that an older version would read it wrongly; a new field with a default does not.
RECORDS_VERSION = 1
# Wrong types and unknown keys are errors; a record that is read by the functions below is declared with this.
STRICT = ConfigDict(strict=True, extra="forbid")

EndReason = typing.Literal["end_token", "stop_string", "length"]
Turns = tuple[tuple[str, str], ...]  # (role, content)


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Sample:
    """One generation for one prompt from one arm: a row of samples/<arm>.jsonl."""

    id: str  # "<arm>/<prompt_id>/<index>", of further training runs "<arm>@<run>/<prompt_id>/<index>"
    prompt_id: str
    group: str | None  # rows of one group count as one unit; None: the prompt is its own
    arm: str
    index: int  # 0 .. per_prompt-1
    prompt: str  # exactly what this arm's model was shown, as text
    text: str  # the generation, without the end token or the stop string
    token_ids: tuple[int, ...] | None  # None for outputs that came from elsewhere
    references: tuple[str, ...]
    end_reason: EndReason | None
    logprob: float | None  # sum of natural-log probabilities of token_ids under the untempered model
    tokens: int | None  # generated tokens, the end token included
    seconds: float | None  # this sample's share of its batch's wall time
    seed: int | None
    source: str | None = None  # the prompt as the data gave it, before template and shots
    run: int | None = None  # the training run that wrote it, from 0; None where nothing was tuned
    turns: Turns | None = None  # the prompt of a chat, turn by turn; None where it is one text
    stripped: str | None = None  # what `sampling.strip` took off the generation; None: nothing
    stripped_tokens: int | None = None  # its tokens, which `tokens` counts too; None: not asked, or not known
    columns: Mapping[str, Any] | None = None  # of its row of the data; columns.jsonl has those that metrics read
    # places in token_ids where float32 sums in another order could have chosen otherwise; None: not looked for
    near_ties: tuple[int, ...] | None = None


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class PromptColumns:
    """The columns of one held-out row that metrics read: a row of columns.jsonl."""

    prompt_id: str
    columns: dict[str, Any]


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Score:
    """One number for one sample: a row of scores.jsonl."""

    sample_id: str
    metric: str
    value: float | None  # None: undefined for this sample
    signature: str  # metric|tokenizer|stemmer|reference rule|version


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class JudgedBy:
    """What must be chosen before there are samples to look at: judging.json, written with the first of them."""

    primary: str
    margin: float
    criterion: str | None
    sampling: Mapping[str, Any] | None = None  # how answers are drawn, by the keys' names; None: not kept then
    own_metrics: Mapping[str, str] | None = None  # the user's own metrics with their files' hashes; None: not kept


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class DiagnosticRow:
    """How often something goes wrong in one arm: a row of diagnostics.jsonl."""

    name: str
    definition: str
    source: str | None  # the paper; None: the definition is ours
    unit: typing.Literal["share", "words"]
    arm: str | None  # None: the references
    rate: float | None
    examples: tuple[tuple[str, str, str], ...]  # (sample id, prompt id, the words)
    n_prompts: int  # looked at
    of_prompts: int
    with_training: bool  # copying from the training text was asked


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Item:
    """One text to grade, without its arm: a row of items.jsonl."""

    item_id: str
    prompt: str
    text: str
    turns: Turns | None = None  # the prompt again as the turns of a chat, where it is one
    for_people: bool = True  # False: for model judges alone


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """One logged moment of tuning: a row of arms/<arm>/metrics.jsonl. Losses are nats a trained token."""

    step: int
    epoch: float
    tokens: int  # processed so far, prompt tokens included
    trained_tokens: int  # that carried loss so far
    learning_rate: float | None
    train_loss: float | None
    validation_loss: float | None
    gradient_norm: float | None
    seconds: float  # since tuning began, pauses between runs excluded


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class FastPath:
    """A way of computing that is faster than the model's own code: whether an arm used it, and why or why not."""

    name: str
    on: bool
    reason: str


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class SamplingCheck:
    """What was looked at before an arm was sampled."""

    name: typing.Literal["adapter", "other than its base", "prompts as tuned on", "special tokens"]
    holds: bool | None  # None: it could not be known
    text: str


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class Measured:
    """What an arm really cost: arms/<arm>/measured.json, with plan.json's keys. None: not measured."""

    trained_parameters: int
    total_parameters: int
    stored_bytes: int | None  # the weight or adapter file's
    steps: int
    tokens_processed: int
    trained_tokens: int
    flops_total: float | None
    tune_seconds: float
    peak_memory_bytes: int | None  # of the process (CPU) or reserved on the device
    learning_rate: float | None
    validation_loss: float | None
    heldout_loss: float | None
    precision: str | None
    device: str | None
    sample_seconds: float | None = None
    sample_tokens: int | None = None
    trained_special_rows: int = 0  # new token rows that were trained, counted apart
    best_step: int | None = None
    heldout_bits_per_byte: float | None = None  # of the same references as heldout_loss
    retain_bits_per_byte: float | None = None  # on the other text that data.retain names
    micro_tokens: int | None = None  # tokens of one forward pass at the end; None: one example at a time
    search_seconds: float | None = None  # of the search for the learning rate; not part of tune_seconds
    search_flops: float | None = None
    evaluation_seconds: float | None = None  # on the validation data while tuning; part of tune_seconds
    evaluation_flops: float | None = None  # not part of flops_total
    evaluation_share: float | None = None  # of tune_seconds
    evaluations: int | None = None  # while tuning, the start included; validation_loss is measured once more
    curve_rows: int | None = None  # of the validation data, the same at each of these; metrics.jsonl has their loss
    validation_rows: int | None = None  # that carry loss, on all of which validation_loss is measured
    request_prompt_tokens: float | None = None  # of one request: a prompt with its shots, and one answer
    request_generated_tokens: float | None = None  # the end token included
    request_flops: float | None = None  # the prompt read once for one answer; None: a shape that is not known
    request_seconds: float | None = None  # in batches, as it was sampled
    fast_paths: tuple[FastPath, ...] | None = None  # None: nothing was tuned here
    unmerged: str | None = None  # why an adapter was sampled beside the weights; None: merged, or there is none
    base_unknown: str | None = None  # why an adapter from elsewhere may have been trained on another base
    sampled_alone: str | None = None  # why sequences were sampled one at a time; None: in batches
    request_money: float | None = None  # by the prices of the endpoint that answered; None: none, or not known
    unanswered: tuple[str, ...] | None = None  # the sampled prompts to which an arm from elsewhere has no answer
    sampling_checks: tuple[SamplingCheck, ...] | None = None  # before sampling; None: an older version made none
    cut_prompts: tuple[str, ...] | None = None  # ids of prompts that were cut to fit; None: not noted then
    together: tuple[str, ...] | None = None  # the runs that shared passes: seconds are shares, the peak is of all
    near_ties: int | None = None  # tokens that float32 rounding could have chosen otherwise; None: not looked for

    @classmethod
    def untuned(
        cls, *, total_parameters: int, is_from_elsewhere: bool, precision: str | None, device: str | None
    ) -> Measured:
        """The record of an arm on which no tuning was spent here; one from elsewhere stores what is not known."""
        return cls(
            trained_parameters=0,
            total_parameters=total_parameters,
            stored_bytes=None if is_from_elsewhere else 0,
            steps=0,
            tokens_processed=0,
            trained_tokens=0,
            flops_total=None,
            tune_seconds=0.0,
            peak_memory_bytes=None,
            learning_rate=None,
            validation_loss=None,
            heldout_loss=None,
            precision=precision,
            device=device,
        )


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class RetainedText:
    """What one document of data.retain costs a model: a row of arms/<arm>/retain.jsonl."""

    document: int  # its place in the file, from 0
    n_bytes: int  # of UTF-8
    bits: float  # minus the base-2 log-probability of all its tokens


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class ReferenceLikelihood:
    """What a held-out reference costs a model behind its prompt: a row of arms/<arm>/references.jsonl."""

    prompt_id: str
    group: str | None  # rows of one group count as one unit; None: the prompt is its own
    tokens: int  # that carry loss, the end token included
    n_bytes: int  # of the reference, UTF-8
    nats: float  # minus the log-likelihood of these tokens


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class ItemPair:
    """Two texts for one prompt to compare, without their arms: a row of pairs.jsonl."""

    pair_id: str
    first: str  # item ids; which of the two stands on the left is each rater's own
    second: str


Row = TypeVar("Row")


def as_object(row: Any) -> dict[str, Any]:
    """A row as a JSON object, tuples as lists, rows inside it as objects."""
    return {f.name: _as_json(getattr(row, f.name)) for f in dataclasses.fields(row)}


def _as_json(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_as_json(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _as_json(part) for key, part in value.items()}
    return as_object(value) if dataclasses.is_dataclass(value) else value


def write_rows(path: Path, rows: Iterable[Any]) -> int:
    """Write rows as JSON Lines, whole or not at all. Returns how many."""
    lines = [json.dumps(as_object(row), ensure_ascii=False, allow_nan=False) for row in rows]
    atomic_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


@functools.cache
def _made_adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(typing.cast(Any, kind))


def adapter_of(kind: type[Row]) -> TypeAdapter[Row]:
    """Pydantic's reader of one kind of record, made once."""
    return _made_adapter(typing.cast(Hashable, kind))


def _read(content: str | bytes, kind: type[Row], *, where: str) -> Row:
    """One record of this kind from JSON. Raises UserError that names the place and the first wrong fields."""
    try:
        return adapter_of(kind).validate_json(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        named = (": ".join(filter(None, (".".join(map(str, row["loc"])), row["msg"]))) for row in found[:3])
        raise UserError(
            f"{where} is not a {kind.__name__} record",
            got="; ".join(named),
            fix="The file was changed by hand or by another version; remove it and run again.",
        ) from None


def read_rows(path: Path, kind: type[Row], *, torn_end: bool = False) -> Iterator[Row]:
    """Read rows of one kind. A line that is not such a row is an error with its number.

    `torn_end`: a last line without its end is what a kill left of a row that was being added, and is no row.
    """
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip() and not (torn_end and not line.endswith("\n")):
                yield _read(line, kind, where=f"{path}, line {number}")


def write_object(path: Path, row: Any) -> None:
    """Write one record as a JSON file."""
    atomic_text(path, json.dumps(as_object(row), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_object(path: Path, kind: type[Row]) -> Row:
    """Read one record from a JSON file. What is no such record is an error that names the field."""
    return _read(path.read_bytes(), kind, where=str(path))


def check_records_version(manifest: Path) -> None:
    """Refuse a folder whose records a newer version wrote; manifest.json says which. Older ones are read.

    A folder without a manifest, or whose manifest names no version, is of version 1.
    """
    try:
        content = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    except ValueError:
        return  # whoever reads the manifest says so
    version = content.get("records", 1) if isinstance(content, dict) else 1
    if not isinstance(version, int) or not 1 <= version <= RECORDS_VERSION:
        raise UserError(
            f"the records of {manifest.parent} were written by another version of finetrial",
            got=f"records version {version}",
            expected=f"{RECORDS_VERSION} or older",
            fix="Read the folder with the finetrial that wrote it, which manifest.json names, or a newer one.",
        )
