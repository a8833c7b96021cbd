"""Plan one arm: the setting that fits, and the figures that measured.json will have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from finetrial.footprint.adapters import Full, Method, trained_parameters
from finetrial.footprint.fields import UnknownShape
from finetrial.footprint.flops import sampling_flops
from finetrial.footprint.optimizer_bytes import state_bytes
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.resident_bytes import trained_matrices
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.structure import Shape
from finetrial.planning.arm_models import PlannedModel, dtype_of, method_of
from finetrial.planning.device_pace import Pace
from finetrial.planning.memory_choice import MemoryChooser, TuningSetting
from finetrial.planning.run_times import SamplingTime, Together, TuningTime, sampling_time, tuning_time
from finetrial.planning.token_counts import ArmTokens, TrialTokens
from finetrial.planning.tuning_work import SearchRule, TuningWork, evaluation_flops, search_tokens, tuning_work
from finetrial.store.plan_record import ArmMemory, ArmPlan, PlanDevice, PlannedStep, StepKind
from finetrial.store.records import Measured
from finetrial.trial.arms import Arm
from finetrial.trial.schema import Trial

_ROW_BYTES = 12  # of a samples' file for every token of prompt and answer: text, and its number. Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDraft:
    """One arm's plan, and what only the whole plan adds up."""

    plan: ArmPlan
    name: str
    search_seconds: float | None = None
    tune_seconds: float | None = None  # of all training runs
    sample_seconds: float | None = None  # of all training runs, loading and losses included
    flops: float | None = None
    runs: int = 1
    searches: bool = False
    tuned: bool = False
    kept_bytes: int | None = 0
    checkpoint_bytes: int = 0

    def steps(self, kind: StepKind) -> Iterator[PlannedStep]:
        """What is waited for, of this kind."""
        match kind:
            case "search" if self.searches:
                yield PlannedStep(kind=kind, arm=self.name, seconds=self.search_seconds)
            case "tune" if self.tuned:
                yield PlannedStep(
                    kind=kind, arm=self.name, seconds=self.tune_seconds, flops=self.flops, runs=self.runs
                )
            case "sample":
                yield PlannedStep(kind=kind, arm=self.name, seconds=self.sample_seconds, runs=self.runs)


def draft_arm(
    trial: Trial,
    name: str,
    *,
    model: PlannedModel,
    tokens: TrialTokens,
    pace: Pace | None,
    device: PlanDevice,
    is_hopper: bool,
    precision: str,
    search: SearchRule,
    chosen: ArmMemory | None = None,
) -> ArmDraft:
    """One arm's plan; where its shape is unknown, only the reason. `chosen` is its memory as planned before."""
    arm = trial.arms[name]
    reason = None
    if arm.method.is_answered_elsewhere or arm.method.sampler is not None:
        reason = "its answers come from a file, a server or another program"
    elif model.shape is None:
        reason = model.reason or "its shape is not known"
    elif arm.tuned and method_of(arm) is None:
        reason = f"what {arm.method.title} trains is known from the model that it makes, and from nothing less"
    if model.shape is None or reason is not None:
        plan = ArmPlan(method=arm.describe(), figures=None, memory=None, reason=reason)
        return ArmDraft(plan=plan, name=name, tuned=arm.tuned, searches=_searches(trial, name), kept_bytes=None)
    try:
        return _draft(
            trial,
            name,
            shape=model.shape,
            tokens=tokens,
            pace=pace,
            device=device,
            is_hopper=is_hopper,
            dtype=dtype_of(trial, arm, precision=precision),
            search=search,
            chosen=chosen,
        )
    except UnknownShape as error:
        plan = ArmPlan(method=arm.describe(), figures=None, memory=None, reason=error.what)
        return ArmDraft(plan=plan, name=name, tuned=arm.tuned, searches=_searches(trial, name), kept_bytes=None)


def _searches(trial: Trial, name: str) -> bool:
    return trial.arms[name].tuned and trial.rate_of(name) == "auto"


def _draft(
    trial: Trial,
    name: str,
    *,
    shape: Shape,
    tokens: TrialTokens,
    pace: Pace | None,
    device: PlanDevice,
    is_hopper: bool,
    dtype: str,
    search: SearchRule,
    chosen: ArmMemory | None = None,
) -> ArmDraft:
    arm, own = trial.arms[name], tokens.arms[name]
    dtype_bytes = bytes_per_param(dtype)
    chooser = MemoryChooser(shape, kind="cuda" if device.kind == "cuda" else "cpu", hopper=is_hopper)
    method = method_of(arm)
    if chosen is not None:
        memory = chosen
    elif method is None:
        memory = chooser.sampled_only(own, dtype_bytes=dtype_bytes, memory_bytes=device.memory_bytes)
    else:
        setting = tuning_setting(trial, arm, method=method, dtype=dtype, devices=device.count)
        memory = chooser.tuned(own, setting=setting, memory_bytes=device.memory_bytes)
    learned = arm.tuned or bool(arm.shots)
    sampled = None
    if pace is not None:
        sampled = sampling_time(
            shape,
            own,
            ends=learned,
            sequences=memory.sequences,
            retained_tokens=0 if arm.method.is_a_prompt else tokens.retained_tokens,
            pace=pace,
        )
    figures = _sampling_figures(shape, own, arm=arm, dtype=dtype, device=device, sampled=sampled, learned=learned)
    runs = max(1, trial.runs_of(name))
    draft = ArmDraft(
        plan=ArmPlan(
            method=arm.describe(),
            figures=figures,
            memory=memory,
            rates=None if pace is None else pace.source,
            rates_are=None if pace is None else pace.origin,
        ),
        name=name,
        sample_seconds=None if sampled is None else runs * (sampled.before_seconds + sampled.seconds),
        runs=runs,
        kept_bytes=runs * _sample_bytes(own, written=figures.request_generated_tokens or 0.0),
    )
    if method is None:
        return draft
    return _with_tuning(
        draft,
        trial,
        name,
        shape=shape,
        method=method,
        tokens=own,
        memory=memory,
        peak=memory.tuning_bytes,
        dtype_bytes=dtype_bytes,
        pace=pace,
        search=search,
        devices=device.count,
    )


def tuning_setting(trial: Trial, arm: Arm, *, method: Method, dtype: str, devices: int = 1) -> TuningSetting:
    """What the trial file says of an arm's tuning that memory hangs on."""
    return TuningSetting(
        method=method,
        dtype=dtype,
        optimizer=trial.training.optimizer,
        checkpointing=trial.training.checkpointing,
        quantize=arm.tuning.base_bits,
        batch_tokens=trial.training.batch_tokens,
        devices=devices,
        sharding=trial.training.sharding,
    )


def _sample_bytes(tokens: ArmTokens, *, written: float) -> int:
    return round(_ROW_BYTES * tokens.per_prompt * (sum(tokens.prompts) + len(tokens.prompts) * written))


def _sampling_figures(
    shape: Shape,
    tokens: ArmTokens,
    *,
    arm: Arm,
    dtype: str,
    device: PlanDevice,
    sampled: SamplingTime | None,
    learned: bool,
) -> Measured:
    """What measured.json will have of an arm that is only sampled."""
    count = len(tokens.prompts) * tokens.per_prompt
    made = min(float(tokens.max_new_tokens), tokens.answer_tokens) if learned else float(tokens.max_new_tokens)
    read = sum(tokens.prompts) / max(1, len(tokens.prompts))
    request = sampling_flops(shape, prompt_tokens=max(1, round(read)), sample_tokens=[max(1, round(made))])
    untuned = Measured.untuned(
        total_parameters=count_parameters(shape).total,
        is_from_elsewhere=arm.method.is_from_elsewhere,
        precision=dtype,
        device=device.name,
    )
    return replace(
        untuned,
        sample_seconds=None if sampled is None else sampled.seconds,
        sample_tokens=None if sampled is None else sampled.tokens,
        request_prompt_tokens=read,
        request_generated_tokens=made,
        request_flops=float(request.total),
        request_seconds=None if sampled is None or not count else sampled.seconds / count,
    )


def stored_bytes(shape: Shape, *, method: Method, dtype_bytes: int) -> int:
    """The weight or adapter file's tensors: adapters of a fused matrix share one, zeros included."""
    if isinstance(method, Full):
        return count_parameters(shape).total * dtype_bytes
    return sum(matrix.entries for matrix in trained_matrices(shape, method)) * dtype_bytes


def checkpoint_bytes(shape: Shape, *, method: Method, optimizer: str) -> int:
    """A checkpoint's masters and moments."""
    matrices = trained_matrices(shape, method)
    return 4 * sum(matrix.entries for matrix in matrices) + state_bytes(optimizer, matrices)


def _with_tuning(
    draft: ArmDraft,
    trial: Trial,
    name: str,
    *,
    shape: Shape,
    method: Method,
    tokens: ArmTokens,
    memory: ArmMemory,
    peak: int | None,
    dtype_bytes: int,
    pace: Pace | None,
    search: SearchRule,
    devices: int,
) -> ArmDraft:
    training, searches = trial.training, _searches(trial, name)
    evaluations = None if training.evaluations == "auto" else training.evaluations
    work = tuning_work(
        shape,
        tokens,
        method=method,
        epochs=trial.epochs_of(name),
        batch_tokens=training.batch_tokens,
        checkpointing=bool(memory.checkpointing),
        evaluations=evaluations,
        early_stopping=training.early_stopping,
    )
    together = Together(devices=devices, sharded=memory.sharded, micro_tokens=memory.micro_tokens or 1)
    time = None
    if pace is not None:
        time = tuning_time(shape, work, method=method, dtype_bytes=dtype_bytes, pace=pace, together=together)
    searched = None
    if searches:
        searched = _search(
            trial,
            name,
            shape=shape,
            method=method,
            tokens=tokens,
            work=work,
            memory=memory,
            dtype_bytes=dtype_bytes,
            pace=pace,
            rule=search,
            together=together,
        )
    stored = stored_bytes(shape, method=method, dtype_bytes=dtype_bytes)
    before = draft.plan.figures
    assert before is not None
    figures = replace(
        before,
        device=before.device if devices == 1 else f"{devices} x {before.device}",
        trained_parameters=trained_parameters(shape, method=method),
        stored_bytes=stored,
        steps=work.steps,
        tokens_processed=work.tokens,
        trained_tokens=work.trained_tokens,
        flops_total=work.flops,
        tune_seconds=0.0 if time is None else time.seconds,
        peak_memory_bytes=peak,
        micro_tokens=memory.micro_tokens,
        evaluation_seconds=None if time is None else time.evaluation_seconds,
        evaluation_flops=work.evaluation_flops,
        evaluations=work.evaluations,
        curve_rows=work.curve_rows,
        validation_rows=len(tokens.validation),
        search_seconds=None if searched is None else searched.seconds,
        search_flops=None if searched is None else searched.flops,
    )
    runs = draft.runs
    lasts = time is None or time.seconds > training.checkpoint_seconds
    saved = checkpoint_bytes(shape, method=method, optimizer=training.optimizer)
    best = 4 * trained_parameters(shape, method=method) if training.early_stopping is not None else 0
    kept = (draft.kept_bytes or 0) + runs * stored
    at_most = (2 * saved if lasts else 0) + best  # the new one is written whole before the old one goes
    speed = None
    if time is not None and time.step_seconds > 0:
        speed = work.tokens / time.step_seconds
    return replace(
        draft,
        plan=replace(draft.plan, figures=figures, tokens_per_second=speed, disk_bytes=kept + at_most),
        search_seconds=None if searched is None else searched.seconds,
        tune_seconds=None if time is None else runs * time.seconds,
        flops=runs * work.flops,
        searches=searches,
        tuned=True,
        kept_bytes=kept,
        checkpoint_bytes=at_most,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    seconds: float | None
    flops: float


def _search(
    trial: Trial,
    name: str,
    *,
    shape: Shape,
    method: Method,
    tokens: ArmTokens,
    work: TuningWork,
    memory: ArmMemory,
    dtype_bytes: int,
    pace: Pace | None,
    rule: SearchRule,
    together: Together,
) -> _Search:
    """The first grid of rates, each in a short run; two more beyond an edge are not foreseen."""
    short = tuning_work(
        shape,
        tokens,
        method=method,
        epochs=trial.epochs_of(name) * rule.share_of(work.steps),
        batch_tokens=trial.training.batch_tokens,
        checkpointing=bool(memory.checkpointing),
        evaluations=0,
    )
    read = search_tokens(tokens, train_tokens=short.tokens)
    short = replace(short, evaluation_flops=evaluation_flops(shape, tokens, method=method, read=read))
    time: TuningTime | None = None
    if pace is not None:
        time = tuning_time(shape, short, method=method, dtype_bytes=dtype_bytes, pace=pace, together=together)
    return _Search(
        seconds=None if time is None else rule.rates * time.seconds,
        flops=rule.rates * (short.flops + short.evaluation_flops),
    )
