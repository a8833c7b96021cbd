"""Plan a trial from its file, by what is known of it and of the device. Needs no torch; who has it may measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from finetrial.errors import unknown_name
from finetrial.evidence.pilot import pilot_spread
from finetrial.footprint.devices import Device
from finetrial.planning.arm_models import models_of
from finetrial.planning.device_pace import Pace, kept_precision
from finetrial.planning.machine import has_narrow_products, planned_device
from finetrial.planning.paces import PaceJob, kept_paces, pace_jobs, rough_paces
from finetrial.planning.token_counts import (
    TrialTokens,
    counts_key,
    estimate_tokens,
    kept_tokens,
    retained_bytes,
)
from finetrial.planning.whole_plan import History, PlanInputs, make_plan
from finetrial.store.hashes import hash_value
from finetrial.store.kept import kept_bytes
from finetrial.store.layout import TrialFolder, run_name
from finetrial.store.manifest import Manifest, StepRecord
from finetrial.store.plan_record import Plan, PlanDevice, PlannedStep, StepKind, read_plan_or_none
from finetrial.store.records import Measured, TrainingPoint, read_object, read_rows
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import LoadedTrial
from finetrial.workflow.rate_grid import SEARCH

CALIBRATION_SECONDS = 10.0
_LEAST_SECONDS = 1.0  # in less nothing is measured well. Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What is planned, and for which device."""

    loaded: LoadedTrial
    folder: TrialFolder
    device: PlanDevice
    row: Device | None  # of the device table
    arms: tuple[str, ...] | None = None
    hours: float | None = None


def plan_request(
    loaded: LoadedTrial,
    folder: TrialFolder,
    *,
    device: str | None = None,
    memory_bytes: int | None = None,
    hours: float | None = None,
    arms: tuple[str, ...] | None = None,
    devices: int = 1,
) -> PlanRequest:
    """The request for a device by its name, `here` or none; `memory_bytes` in place of its own memory.

    `devices` of them tune each arm together.

    Raises UserError for a device and for an arm that is unknown.
    """
    for name in arms or ():
        if name not in loaded.trial.arms:
            raise unknown_name("arm", name, loaded.trial.arms)
    found, row = planned_device(device, folder=folder.root)
    if memory_bytes is not None:
        found = replace(found, memory_bytes=memory_bytes)
    found = replace(found, count=devices)
    return PlanRequest(loaded=loaded, folder=folder, device=found, row=row, arms=arms, hours=hours)


def tokens_of(loaded: LoadedTrial) -> TrialTokens:
    """The rows' token counts as they were kept, else estimates from the text."""
    return kept_tokens(loaded) or estimate_tokens(
        loaded.trial, read_splits(loaded), retained_bytes=retained_bytes(loaded)
    )


class Measures(Protocol):
    """Who can measure this machine; needs torch, which this module does not."""

    def precision(self) -> str: ...

    def paces(self, jobs: Sequence[PaceJob], *, greedy: bool, seconds: float) -> Mapping[str, Pace]: ...


def plan_trial(
    request: PlanRequest,
    *,
    measures: Measures | None = None,
    tokens: TrialTokens | None = None,
    at_most_seconds: float = CALIBRATION_SECONDS,
    share: float | None = None,
    only_left: bool = False,
) -> Plan:
    """The plan. With `measures` the paces that are not known yet are measured on this machine.

    `tokens` are the counts where they were just made; else those that are kept, else estimates from the text.
    Measuring takes `at_most_seconds`, and of the run that is planned no more than `share`. `only_left`: what a run
    of just this trial has done in its folder is not counted again.
    """
    loaded = request.loaded
    tokens = tokens or tokens_of(loaded)
    inputs = _inputs(request, tokens=tokens, measures=measures)
    plan = make_plan(inputs)
    if only_left:
        inputs = replace(inputs, left=_left(request, plan=plan))
        plan = make_plan(inputs)
    if not request.device.is_here:
        return plan
    jobs = pace_jobs(loaded.trial, plan=plan, tokens=tokens, models=inputs.models)
    paces: Mapping[str, Pace] = kept_paces(jobs)
    if measures is not None and len(paces) < len(jobs):
        allowed = at_most_seconds
        if share is not None and plan.total_seconds is not None:
            allowed = min(allowed, share * plan.total_seconds)
        if allowed >= _LEAST_SECONDS:
            paces = measures.paces(jobs, greedy=tokens.greedy, seconds=allowed)
    if not paces:
        return plan
    memory = {name: arm.memory for name, arm in plan.arms.items() if arm.memory is not None}  # hangs on no pace
    return make_plan(replace(inputs, paces={**inputs.paces, **paces}, memory=memory))


def _inputs(request: PlanRequest, *, tokens: TrialTokens, measures: Measures | None) -> PlanInputs:
    loaded, device = request.loaded, request.device
    models, precision = models_of(loaded), _precision(request, measures=measures)
    return PlanInputs(
        trial=loaded.trial,
        models=models,
        tokens=tokens,
        device=device,
        precision=precision,
        paces=rough_paces(
            loaded.trial, tokens=tokens, models=models, device=device, row=request.row, precision=precision
        ),
        search=SEARCH,
        is_hopper=request.row is not None and request.row.is_hopper,
        device_watts=None if request.row is None else request.row.watts,
        pilot=None if loaded.trial.judging.pilot is None else pilot_spread(loaded.path(loaded.trial.judging.pilot)),
        history=history_of(request.folder, loaded, device=device),
        arms=request.arms,
        hours=request.hours,
        kept_bytes=kept_bytes(request.folder.kept),
    )


def made_from(request: PlanRequest) -> str:
    """The hash of what a plan is made from: trial, data and device."""
    device = {key: value for key, value in asdict(request.device).items() if key != "disk_free_bytes"}
    loaded, arms = request.loaded, request.arms or tuple(request.loaded.trial.arms)
    return hash_value([counts_key(loaded), loaded.trial.model_dump(mode="json"), device, arms])


def _left(request: PlanRequest, *, plan: Plan) -> dict[tuple[StepKind, str | None], float]:
    """The shares still to do of what a run began in the folder; empty where its settings or data were others."""
    folder, before = request.folder, read_plan_or_none(request.folder.plan)
    if before is None or before.made_from != made_from(request):
        return {}
    done = Manifest(folder.manifest).records
    found: dict[tuple[StepKind, str | None], float] = {}
    for step in plan.steps:
        if step.arm is None:
            continue
        names = [step.arm if run == 0 else run_name(step.arm, run=run) for run in range(step.runs)]
        shares = [_share_left(folder, name, step=step, plan=plan, done=done) for name in names]
        if step.kind == "sample":  # one step draws the samples of all training runs
            shares = shares[:1]
        if (share := sum(shares) / len(shares)) < 1:
            found[step.kind, step.arm] = share
    return found


def _share_left(
    folder: TrialFolder, name: str, *, step: PlannedStep, plan: Plan, done: Mapping[str, StepRecord]
) -> float:
    if f"{step.kind}:{name}" in done:
        return 0.0
    figures = plan.arms[step.arm or ""].figures
    metrics = folder.metrics(name)
    if step.kind != "tune" or figures is None or not figures.steps or not metrics.exists():
        return 1.0
    last = max((point.step for point in read_rows(metrics, TrainingPoint)), default=0)
    return max(0.0, 1 - last / figures.steps)


def _precision(request: PlanRequest, *, measures: Measures | None) -> str:
    """What `precision: auto` comes to: as it was measured, else by what the device is known to have."""
    if request.row is not None:
        return "bfloat16" if request.row.has_bfloat16 else "float16"
    if request.device.kind != "cpu":
        return "bfloat16"
    kept = kept_precision(request.device.name)
    if kept is None and measures is not None:
        kept = measures.precision()
    return kept or ("bfloat16" if has_narrow_products() else "float32")


def history_of(folder: TrialFolder, loaded: LoadedTrial, *, device: PlanDevice) -> History:
    """What an earlier run of this trial showed on this device: measured seconds over those of its plan.

    A folder without a plan, or with one for another device, says nothing.
    """
    before = read_plan_or_none(folder.plan)
    if before is None or (before.device.name, before.device.count) != (device.name, device.count):
        return History()
    planned: dict[StepKind, float] = {"tune": 0.0, "sample": 0.0}
    taken: dict[StepKind, float] = {"tune": 0.0, "sample": 0.0}
    for name in loaded.trial.arms:
        arm, path = before.arms.get(name), folder.measured(name)
        if arm is None or arm.figures is None or not path.exists():
            continue
        measured = read_object(path, Measured)
        pairs: tuple[tuple[StepKind, float | None, float | None], ...] = (
            ("tune", arm.figures.tune_seconds, measured.tune_seconds),
            ("sample", arm.figures.sample_seconds, measured.sample_seconds),
        )
        for kind, seconds, really in pairs:
            if seconds and really:
                planned[kind] += seconds
                taken[kind] += really
    return History(factors={kind: taken[kind] / planned[kind] for kind in planned if planned[kind] and taken[kind]})
