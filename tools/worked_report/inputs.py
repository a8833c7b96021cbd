"""Read the file of inputs that a worked report is made from: sizes, models, trials, published figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from finetrial.errors import UserError

_GIVEN = ConfigDict(extra="forbid")


@with_config(_GIVEN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The exercises on compute, loss and repeated data."""

    params: str
    tokens: str
    improve: str  # the share by which the loss is to fall
    grow: float  # how much larger the model is that gets the same compute
    law: str = "hoffmann2022"
    repeat: str = "halving"
    other_repeats: tuple[str, ...] = ()  # rules beside which the epochs are shown
    leaves_out: tuple[str, ...] = ()  # what only holds for these numbers; the rest is the program's to say


@with_config(_GIVEN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The exercises on what copies of a tuned model weigh."""

    model: str
    copies: int
    matrices: tuple[str, ...]
    rank: int
    alone: tuple[str, ...]  # the targets of the adapter of equal bytes
    dtype: str = "bfloat16"
    leaves_out: tuple[str, ...] = ()


@with_config(_GIVEN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What somebody else found, with another model: never this project's own figures."""

    model: str
    raters: str  # who graded, in words
    counts: str | None = None  # a CSV of prompt, arm, good, of
    rouge1: Mapping[str, float] = field(default_factory=dict)
    example: str | None = None  # the trial file that asks the same of that model
    ran: str | None = None  # where its trial stands, once it has been run


@with_config(_GIVEN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One trial, or the kept record of one."""

    id: str
    title: str
    question: str
    records: str  # a trial folder, or a .json that `--keep` wrote of one
    arms: Mapping[str, str] = field(default_factory=dict)  # what an arm is, where its name does not say
    shown: tuple[str, ...] = ()  # ids of prompts whose answers are printed; the graded ones unless given
    leaves_out: tuple[str, ...] = ()
    published: Published | None = None


@with_config(_GIVEN)
@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that a worked report is made from. Paths start at the file's folder."""

    name: str
    title: str
    comparisons: tuple[Comparison, ...]
    scaling: Scaling | None = None
    storage: Storage | None = None
    authors: tuple[str, ...] = ()


def read_inputs(path: Path) -> Inputs:
    """The inputs in a YAML file. Raises UserError that names what is wrong in it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        inputs = TypeAdapter(Inputs).validate_python(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read", got=error.strerror) from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML", got=str(error)) from None
    except ValidationError as error:
        rows = error.errors(include_url=False, include_input=False)
        said = "; ".join(f"{'.'.join(map(str, row['loc'])) or 'the file'}: {row['msg']}" for row in rows[:3])
        raise UserError(f"{path} is not the inputs of a worked report", got=said) from None
    ids = [one.id for one in inputs.comparisons]
    if len(set(ids)) < len(ids):
        raise UserError(f"{path} names two comparisons alike", got=", ".join(ids))
    return inputs
