"""The plan of a trial as a record: plan.json, written before anything is tuned.

Under `arms` every arm has the figures that measured.json will have, by the same names, beside what the device must
hold for it. None: it cannot be known before, or does not apply.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.records import Measured, as_object

PLAN_VERSION = 1

StepKind = Literal["start", "data", "search", "tune", "sample", "score", "report"]
Source = Literal["measured", "table", "assumed"]


class OtherVersion(UserError):
    """A plan that another version of finetrial wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One thing that a run's user waits for."""

    kind: StepKind
    arm: str | None
    seconds: float | None
    flops: float | None = None
    runs: int = 1  # training runs with seeds of their own, all of them in `seconds`
    left: float = 1.0  # the share that is still to be done; less than 1 in a folder where a run was at work

    @property
    def seconds_left(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.left


@dataclass(frozen=True, slots=True, kw_only=True)
class FitChange:
    """A change of the trial file with which an arm fits, and what the device must then hold."""

    change: str
    needed_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMemory:
    """What the device must hold for an arm, and the setting that was chosen for it."""

    needed_bytes: int  # the largest of the three, with segments and context or libraries and heap
    training_bytes: int | None  # tensors at the peak
    evaluation_bytes: int | None
    sampling_bytes: int
    length: int  # tokens of the longest example or of the longest prompt with its answer
    micro_tokens: int | None  # of one forward pass in training
    checkpointing: bool | None
    sequences: int  # sampled at once
    fits: bool | None  # None: the device's memory is not known
    changes: tuple[FitChange, ...] = ()
    tuning_bytes: int | None = None  # the peak that measured.json will have
    sharded: bool = False  # every device holds a share of what is tuned
    traced_bytes: int | None = None  # training_bytes as the model's own step showed them, followed without numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPlan:
    """One arm's plan. `reason` says why a part is not known."""

    method: str
    figures: Measured | None
    memory: ArmMemory | None
    tokens_per_second: float | None = None  # of tuning
    disk_bytes: int | None = None  # at most, checkpoints included
    rates: str | None = None  # where its time comes from
    rates_are: Source | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDevice:
    """What the plan is for."""

    name: str
    kind: Literal["cpu", "cuda", "mps"]
    is_here: bool
    memory_bytes: int | None  # of one
    disk_free_bytes: int | None
    count: int = 1  # devices that tune an arm together


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingPlan:
    """The blind grading: how much of it there is, how long it takes a person, and what it can show."""

    prompts: int
    samples: int
    seconds: float  # of one rater
    raters: int
    units_needed: (
        int | None
    )  # prompts that find the difference four times in five; None: there is nothing to compare
    difference: float  # the one that matters
    assumption: str
    least_p: float | None  # that these prompts can reach, after Holm's correction


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """Serving an arm, planned: in money where prices allow it for every arm, else in FLOPs or seconds."""

    arm: str
    per_request: float | None
    requests: float | None  # `judging.requests` of them
    total: float | None  # with tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBreakEven:
    arm: str
    against: str
    requests: int | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a whole run."""

    trial: str
    device: PlanDevice
    precision: str
    lengths: Literal["counted", "estimated"]
    arms: Mapping[str, ArmPlan]
    steps: tuple[PlannedStep, ...]
    total_seconds: float | None  # of what is left to do
    needed_bytes: int | None
    disk_bytes: int | None
    kilowatt_hours: float | None
    money: float | None
    fits: bool | None  # memory, disk and hours; None where nothing is known to be too small
    misfits: tuple[str, ...]  # in words
    grading: GradingPlan | None
    serving_unit: str | None
    serving_requests: int
    serving: tuple[ServingPlan, ...]
    break_even: tuple[PlannedBreakEven, ...]
    notes: tuple[str, ...] = ()
    made_from: str | None = None  # the hash of trial, data and device: while it stays, a run keeps its first plan
    version: int = PLAN_VERSION

    def seconds_of(self, kind: StepKind) -> float | None:
        """What steps of a kind still take together; None where one of them is not known."""
        found = [s for s in self.steps if s.kind == kind]
        known = [seconds for s in found if (seconds := s.seconds_left) is not None]
        return sum(known) if len(known) == len(found) else None


_FIGURES = tuple(field.name for field in dataclasses.fields(Measured))


def plan_content(plan: Plan) -> dict[str, Any]:
    """plan.json. An arm's figures stand directly under its name, those that are known."""
    arms = {}
    for name, arm in plan.arms.items():
        figures = {} if arm.figures is None else as_object(arm.figures)
        known = {key: value for key, value in figures.items() if value is not None}
        rest = {key: value for key, value in as_object(arm).items() if key != "figures"}
        arms[name] = known | rest
    content = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan) if f.name != "arms"}
    plain = {key: _plain(value) for key, value in content.items()}
    return {"version": plain.pop("version"), **plain, "arms": arms}


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return as_object(value) if dataclasses.is_dataclass(value) else value


def write_plan(path: Path, plan: Plan) -> None:
    """Write plan.json."""
    atomic_text(path, json.dumps(plan_content(plan), ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_plan(path: Path) -> Plan | None:
    """The plan; None where there is none. Raises UserError for a file that is no plan."""
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != PLAN_VERSION:
            raise OtherVersion(
                f"{path} is not a plan",
                got=f"version {content['version']}, and this finetrial reads {PLAN_VERSION}",
                fix="Remove it; `finetrial run` writes it anew.",
            )
        arms = {name: _arm(fields) for name, fields in content["arms"].items()}
        return typing.cast(Plan, _record(Plan, {**content, "arms": {}}, arms=arms))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} is not a plan", got=str(error), fix="Remove it; `finetrial run` writes it anew."
        ) from None


def planned_figures(path: Path) -> dict[str, dict[str, Any]]:
    """What plan.json says of each arm, by measured.json's keys; empty without a plan, and for another version's.

    Raises UserError for a file that is no plan.
    """
    try:
        plan = read_plan(path)
    except OtherVersion:
        return {}
    arms = {} if plan is None else plan.arms
    return {
        name: {key: value for key, value in as_object(arm.figures).items() if value is not None}
        for name, arm in arms.items()
        if arm.figures is not None
    }


def read_plan_or_none(path: Path) -> Plan | None:
    """The plan; None where there is none, and for one of another version, which the next run writes anew."""
    try:
        return read_plan(path)
    except UserError:
        return None


def _arm(fields: Mapping[str, Any]) -> ArmPlan:
    own = {f.name for f in dataclasses.fields(ArmPlan)}
    figures = {key: value for key, value in fields.items() if key in _FIGURES}
    empty = {
        f.name: None
        for f in dataclasses.fields(Measured)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    measured = Measured(**{**empty, **figures}) if figures else None
    rest = {key: value for key, value in fields.items() if key in own}
    return typing.cast(ArmPlan, _record(ArmPlan, rest, figures=measured))


def _record(kind: type, fields: Mapping[str, Any], **given: Any) -> Any:
    """A record from its JSON, with the records inside it."""
    hints = typing.get_type_hints(kind)
    values = {
        name: _value(hints[name], value) for name, value in fields.items() if name in hints and name not in given
    }
    return kind(**{**values, **given})


def _value(hint: Any, value: Any) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) not in (None, tuple) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, dict):
            return _record(typing.cast(type, option), value)
        if typing.get_origin(option) is tuple and isinstance(value, list):
            part = typing.get_args(option)[0]
            return tuple(_value(part, one) for one in value)
    return value
