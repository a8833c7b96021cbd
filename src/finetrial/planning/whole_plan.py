"""Plan a trial: every arm's memory, time and disk, the run's in all, grading, serving, and what does not fit.

A pure function of what is known before: the trial, shapes, token counts, the device and its pace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from finetrial.evidence.cost import trial_costs
from finetrial.evidence.findings import Costs
from finetrial.planning.arm_models import PlannedModel
from finetrial.planning.arm_plan import ArmDraft, draft_arm
from finetrial.planning.device_pace import Pace
from finetrial.planning.grading_time import grading_plan
from finetrial.planning.run_times import DATA_BYTES_A_SECOND, REPORT_SECONDS, SAMPLES_A_SECOND, START_SECONDS
from finetrial.planning.token_counts import TrialTokens
from finetrial.planning.tuning_work import SearchRule
from finetrial.stats.power import Spread
from finetrial.store.plan_record import (
    ArmMemory,
    ArmPlan,
    GradingPlan,
    Plan,
    PlanDevice,
    PlannedBreakEven,
    PlannedStep,
    ServingPlan,
    StepKind,
)
from finetrial.store.records import as_object
from finetrial.trial.graded_prompts import choose_graded_prompts
from finetrial.trial.schema import Trial
from finetrial.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What this trial's earlier runs showed: measured seconds over those planned, for the kinds of steps seen."""

    factors: Mapping[StepKind, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInputs:
    """Everything that a plan is made from."""

    trial: Trial
    models: Mapping[str, PlannedModel]  # by arm
    tokens: TrialTokens
    device: PlanDevice
    precision: str  # that `auto` comes to on the device
    paces: Mapping[str, Pace]  # by arm, of those whose shape is known
    search: SearchRule
    is_hopper: bool = False
    pilot: Spread | None = None  # of people's grades, of `judging.pilot`
    device_watts: float | None = None  # of the device table; `prices.watts` comes before it
    history: History = field(default_factory=History)
    memory: Mapping[str, ArmMemory] = field(default_factory=dict)  # by arm, of those planned before
    arms: tuple[str, ...] | None = None  # None: all
    hours: float | None = None  # the run may take
    # of what an earlier run has begun or done: the share still to do, by kind and arm
    left: Mapping[tuple[StepKind, str | None], float] = field(default_factory=dict)
    kept_bytes: int = 0  # in kept/, of earlier settings


def make_plan(inputs: PlanInputs) -> Plan:
    """The whole plan."""
    trial = inputs.trial
    chosen = [name for name in trial.arms if inputs.arms is None or name in inputs.arms]
    drafts = {name: _draft(inputs, name) for name in chosen}
    arms = {name: draft.plan for name, draft in drafts.items()}
    steps = _steps(inputs, drafts)
    waited = [step.seconds_left for step in steps]
    known = [seconds for seconds in waited if seconds is not None]
    total = sum(known) if len(known) == len(waited) else None
    needed = [arm.memory.needed_bytes for arm in arms.values() if arm.memory is not None]
    disk = _disk(drafts, inputs=inputs)
    costs = _costs(inputs, arms)
    watts = trial.prices.watts
    if watts is None and inputs.device_watts is not None:
        watts = inputs.device_watts * inputs.device.count
    misfits = (*_memory_misfits(inputs, arms), *_other_misfits(inputs, disk=disk, total=total, steps=steps))
    return Plan(
        trial=trial.trial,
        device=inputs.device,
        precision=inputs.precision,
        lengths="counted" if inputs.tokens.counted else "estimated",
        arms=arms,
        steps=steps,
        total_seconds=total,
        needed_bytes=max(needed, default=None),
        disk_bytes=disk,
        kilowatt_hours=None if watts is None or total is None else watts * total / 3.6e6,
        money=None if trial.prices.hour is None or total is None else trial.prices.hour * total / 3600,
        fits=False if misfits else None if not needed or inputs.device.memory_bytes is None else True,
        misfits=misfits,
        grading=_grading(inputs),
        serving_unit=costs.unit,
        serving_requests=costs.requests,
        serving=_serving(costs),
        break_even=tuple(
            PlannedBreakEven(arm=one.arm, against=one.against, requests=one.requests, reason=one.reason)
            for one in costs.break_even
        ),
        notes=_notes(inputs, arms),
    )


def _draft(inputs: PlanInputs, name: str) -> ArmDraft:
    return draft_arm(
        inputs.trial,
        name,
        model=inputs.models[name],
        tokens=inputs.tokens,
        pace=inputs.paces.get(name),
        device=inputs.device,
        is_hopper=inputs.is_hopper,
        precision=inputs.precision,
        search=inputs.search,
        chosen=inputs.memory.get(name),
    )


def _steps(inputs: PlanInputs, drafts: Mapping[str, ArmDraft]) -> tuple[PlannedStep, ...]:
    """Everything that is waited for, in the order of the run."""
    tokens, trial = inputs.tokens, inputs.trial
    samples = sum(len(tokens.arms[name].prompts) * tokens.arms[name].per_prompt for name in drafts)
    of_arms = [step for kind in ("search", "tune", "sample") for d in drafts.values() for step in d.steps(kind)]
    steps = [
        PlannedStep(kind="start", arm=None, seconds=START_SECONDS),
        PlannedStep(kind="data", arm=None, seconds=tokens.text_bytes / DATA_BYTES_A_SECOND),
        *of_arms,
        PlannedStep(kind="score", arm=None, seconds=samples / SAMPLES_A_SECOND if trial.judging.metrics else 0.0),
        PlannedStep(kind="report", arm=None, seconds=REPORT_SECONDS),
    ]
    return tuple(
        replace(_with_history(step, history=inputs.history), left=inputs.left.get((step.kind, step.arm), 1.0))
        for step in steps
    )


def _with_history(step: PlannedStep, *, history: History) -> PlannedStep:
    factor = history.factors.get(step.kind)
    if factor is None or step.seconds is None:
        return step
    return replace(step, seconds=step.seconds * factor)


def _disk(drafts: Mapping[str, ArmDraft], *, inputs: PlanInputs) -> int | None:
    """At most at once: what every arm leaves, the largest checkpoint while it is replaced, and kept/ as it is."""
    if not drafts or any(draft.kept_bytes is None for draft in drafts.values()):
        return None
    left = sum(draft.kept_bytes or 0 for draft in drafts.values())
    return left + max(draft.checkpoint_bytes for draft in drafts.values()) + inputs.kept_bytes


def _costs(inputs: PlanInputs, arms: Mapping[str, ArmPlan]) -> Costs:
    trial = inputs.trial
    return trial_costs(
        {name: trial.arms[name].method for name in arms},
        figures={name: as_object(arm.figures) for name, arm in arms.items() if arm.figures is not None},
        prices=trial.prices,
        requests=trial.judging.requests,
    )


def _serving(costs: Costs) -> tuple[ServingPlan, ...]:
    found = []
    for name, cost in costs.arms.items():
        of_unit = {"money": cost.request_money, "FLOPs": cost.request_flops, "seconds": cost.request_seconds}
        each = of_unit.get(costs.unit or "")
        found.append(
            ServingPlan(
                arm=name,
                per_request=each,
                requests=None if each is None else each * costs.requests,
                total=costs.totals[name],
            )
        )
    return tuple(found)


def _grading(inputs: PlanInputs) -> GradingPlan | None:
    trial, tokens = inputs.trial, inputs.tokens
    judging, first = trial.judging, next(iter(tokens.arms.values()))
    sampled = len(first.prompts)
    chosen = choose_graded_prompts(
        judging,
        arms=len(trial.arms),
        per_prompt=first.per_prompt,
        sampled=sampled,
        units=tokens.units or sampled,
        pilot=inputs.pilot,
    )
    asked = chosen.prompts if judging.grade_prompts == "auto" else judging.grade_prompts
    own = [arm for name, arm in tokens.arms.items() if not trial.arms[name].shots] or [first]
    return grading_plan(
        chosen,
        prompts=min(sampled, asked),
        compared=len(trial.arms),
        arms=len(trial.arms) + judging.grade_references,
        per_prompt=first.per_prompt,
        prompt_tokens=sum(own[0].prompts) / max(1, sampled),
        answer_tokens=first.answer_tokens,
        raters=judging.raters,
        repeats=judging.repeats,
    )


def _memory_misfits(inputs: PlanInputs, arms: Mapping[str, ArmPlan]) -> tuple[str, ...]:
    memory, found = inputs.device.memory_bytes, []
    for name, arm in arms.items():
        if arm.memory is not None and arm.memory.fits is False and memory is not None:
            needs, there = format_bytes(arm.memory.needed_bytes), format_bytes(memory)
            found.append(f"{name} needs {needs} of memory, and there are {there}")
    return tuple(found)


def _other_misfits(
    inputs: PlanInputs, *, disk: int | None, total: float | None, steps: tuple[PlannedStep, ...]
) -> tuple[str, ...]:
    found, free = [], inputs.device.disk_free_bytes
    there = inputs.kept_bytes  # takes its room already
    if disk is not None and free is not None and disk - there > free:
        needs = format_bytes(disk - there)
        cleaned = f"; `finetrial clean` frees {format_bytes(there)}" if there else ""
        found.append(f"the trial's folder needs {needs} of disk, and {format_bytes(free)} are free{cleaned}")
    if inputs.hours is not None and total is not None and total > inputs.hours * 3600:
        tuning = sum(s.seconds_left or 0.0 for s in steps if s.kind in ("search", "tune"))
        room = tuning - (total - inputs.hours * 3600)
        says = f"the run takes {format_seconds(total)}, and {inputs.hours:g} h are allowed"
        if tuning and room > 0:
            epochs = inputs.trial.training.epochs * room / tuning
            says += f"; training.epochs: {epochs:.2g} would fit"
        found.append(says)
    return tuple(found)


def _together_note(inputs: PlanInputs, arms: Mapping[str, ArmPlan]) -> str:
    """What several devices do, and what of their time is not known."""
    found = "Memory is of one device; sampling runs on one alone."
    if any(arm.memory is not None and arm.memory.sharded for arm in arms.values()):
        found += " Those that share weights out load the model in turn, whole in the machine's memory."
    if any(pace.link is None for pace in inputs.paces.values()):
        found += " How fast the devices send to one another is not known here, and not in the times."
    return found


def _notes(inputs: PlanInputs, arms: Mapping[str, ArmPlan]) -> tuple[str, ...]:
    notes = []
    if not inputs.tokens.counted:
        notes.append("Lengths are estimated from the text; `finetrial check` counts them.")
    origins = {arm.rates_are for arm in arms.values()}
    if origins & {"table", "assumed"}:
        where = "`finetrial plan --device here` measures this machine's, in 10 seconds at most."
        notes.append("Times are rough" + (f": {where}" if inputs.device.is_here else ": from the makers' figures."))
    if inputs.device.count > 1:
        notes.append(_together_note(inputs, arms))
    if inputs.kept_bytes:
        notes.append(
            f"Of the disk, {format_bytes(inputs.kept_bytes)} are of earlier settings, in kept/; `finetrial clean` "
            "frees them."
        )
    if inputs.left:
        notes.append("Of what an earlier run has done only the rest is counted.")
    taken = max((pace.taken for pace in inputs.paces.values() if pace.taken is not None), default=None)
    if taken is not None:
        notes.append(
            f"Other processes took {taken:.1f} of this machine's processors while its rates were measured: alone "
            "it will be faster; these rates are not kept."
        )
    for kind, factor in inputs.history.factors.items():
        notes.append(f"Corrected by this trial's earlier run: {kind} took {factor:.2f} times its plan.")
    limits = [n for n in arms if not (inputs.trial.arms[n].tuned or inputs.trial.arms[n].shots)]
    if limits:
        which = " and ".join(limits)
        notes.append(f"{which}: time and tokens of sampling are at most; who was not tuned may write to the limit.")
    return tuple(notes)
