"""Which paces a plan needs, under which names measured ones are kept, and what stands in for those that are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetrial.footprint.devices import Device
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.structure import Shape
from finetrial.planning.arm_models import PlannedModel, dtype_of, method_of
from finetrial.planning.device_pace import Pace, card_pace, cpu_pace, kept_pace, pace_facts, pace_key
from finetrial.planning.machine import cores
from finetrial.planning.token_counts import ArmTokens, TrialTokens
from finetrial.planning.typical import TypicalBatches, typical_batches
from finetrial.store.plan_record import ArmMemory, Plan, PlanDevice
from finetrial.trial.arms import Arm
from finetrial.trial.schema import Trial

_COARSE = 32  # tokens by which lengths may differ, about, and the rates stay


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceJob:
    """One arm's pace: what it is measured with, and under which name it is kept."""

    arm: str
    shape: Shape
    dtype: str
    is_tuned: bool
    batches: TypicalBatches
    memory: ArmMemory
    key: str
    sampling_key: str  # the same for arms that sample alike


def pace_jobs(
    trial: Trial, *, plan: Plan, tokens: TrialTokens, models: Mapping[str, PlannedModel]
) -> tuple[PaceJob, ...]:
    """The arms whose pace can be measured; `plan` is one with rough paces, which says what fits."""
    jobs = []
    for name, drafted in plan.arms.items():
        shape, arm = models[name].shape, trial.arms[name]
        if shape is None or drafted.memory is None or drafted.figures is None or drafted.figures.precision is None:
            continue
        batches = typical_batches(tokens.arms[name], drafted.memory)
        dtype, device = drafted.figures.precision, plan.device.name
        sampled = [round(batches.prompt_tokens / _COARSE), batches.prompts, batches.per_prompt, tokens.greedy]
        mean = sum(batches.lengths) / max(1, len(batches.lengths))
        trained = [len(batches.lengths), round(mean / _COARSE), drafted.memory.checkpointing, _tuned(arm, trial)]
        jobs.append(
            PaceJob(
                arm=name,
                shape=shape,
                dtype=dtype,
                is_tuned=method_of(arm) is not None and bool(batches.lengths),
                batches=batches,
                memory=drafted.memory,
                key=pace_key(pace_facts(shape, device=device, dtype=dtype, setting=[trained, sampled])),
                sampling_key=pace_key(pace_facts(shape, device=device, dtype=dtype, setting=sampled)),
            )
        )
    return tuple(jobs)


def _tuned(arm: Arm, trial: Trial) -> list[Any]:
    return [arm.method.name, arm.method.model_dump(mode="json"), trial.training.optimizer] if arm.tuned else []


def kept_paces(jobs: Sequence[PaceJob]) -> dict[str, Pace]:
    """The arms' paces that were measured before."""
    return {job.arm: pace for job in jobs if (pace := kept_pace(job.key)) is not None}


def rough_paces(
    trial: Trial,
    *,
    tokens: TrialTokens,
    models: Mapping[str, PlannedModel],
    device: PlanDevice,
    row: Device | None,
    precision: str,
) -> dict[str, Pace]:
    """Paces from the device table, or for a processor from its cores; none for a card that no table has."""
    found = {}
    for name, arm in trial.arms.items():
        shape = models[name].shape
        dtype_bytes = bytes_per_param(dtype_of(trial, arm, precision=precision))
        length = _length(tokens.arms[name])
        if shape is None:
            continue
        if row is not None:
            found[name] = card_pace(shape, row, dtype_bytes=dtype_bytes, length=length)
        elif device.kind == "cpu":
            found[name] = cpu_pace(shape, cores=cores(), dtype_bytes=dtype_bytes, length=length)
    return found


def _length(tokens: ArmTokens) -> int:
    """Of a sequence half way through its answer."""
    prompt = sum(tokens.prompts) / max(1, len(tokens.prompts))
    return max(1, round(prompt + tokens.answer_tokens / 2))
