"""Measure the arms' paces on this device within seconds, or take what was measured before.

The training room's own step and the sampling room's own loop are timed at the model's own width, on as many of its
layers as the time allows. What was measured is kept in the user's cache for the next plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from finetrial.errors import FinetrialError
from finetrial.footprint.adapters import Method
from finetrial.footprint.beside import Beside
from finetrial.footprint.flops import forward_flops, step_flops
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.structure import Shape
from finetrial.methods.method import TunedMethod
from finetrial.models.device import DTYPES, choose_precision, dtype_name, matrix_rate, pick_device
from finetrial.models.loading import load_config
from finetrial.planning.arm_models import method_of
from finetrial.planning.device_pace import Pace, keep_pace, keep_precision
from finetrial.planning.machine import CpuClock, cores, cpu_clock
from finetrial.planning.paces import PaceJob, kept_paces
from finetrial.planning.run_times import optimizer_traffic
from finetrial.sampling.decode_timing import SamplingSeconds, measure_sampling
from finetrial.training.step_timing import (
    LEAST_LAYER_SHARE,
    TrainingSeconds,
    at_whole_depth,
    few_layers,
    measure_training,
)
from finetrial.training.task import OptimizerName
from finetrial.trial.arms import Arm
from finetrial.trial.trial_file import LoadedTrial

STEP_SHARE = 0.45  # of a product's rate that a whole step reaches, to see what there is time for. Assumption
_TRAINING_SHARE = 0.65  # of the time, where arms are tuned; sampling has the rest
_STEPS_A_DEPTH = 8  # of forward and backward, that timing a depth takes, warm-up and forward passes included
_PROMPT_SHARE = 0.25  # of sampling's time, for reading the prompts at the greater depth
# Of the processors, what others may take while rates are measured without that showing in them. Assumption
_CALM = 0.1
_FEW = 8  # a batch so many times smaller tells what a sequence adds to a decoding step


class Calibration:
    """Measures this machine for a trial; what `workflow.plan_trial` asks for."""

    def __init__(self, loaded: LoadedTrial, *, device_name: str, tokenizer_of: Callable[[str], Any]) -> None:
        self._loaded, self._device_name, self._tokenizer_of = loaded, device_name, tokenizer_of

    def precision(self) -> str:
        """What `precision: auto` comes to here; kept for the next plan."""
        found = dtype_name(choose_precision("auto", device=pick_device()))
        keep_precision(self._device_name, found)
        return found

    def paces(self, jobs: Sequence[PaceJob], *, greedy: bool, seconds: float) -> dict[str, Pace]:
        """The arms' paces; those that are not known yet are measured within about `seconds`."""
        return measured_paces(self._loaded, jobs, tokenizer_of=self._tokenizer_of, greedy=greedy, seconds=seconds)


def measured_paces(
    loaded: LoadedTrial,
    jobs: Sequence[PaceJob],
    *,
    tokenizer_of: Callable[[str], Any],
    greedy: bool,
    seconds: float,
) -> dict[str, Pace]:
    """The arms' paces, measured where that was not done before. An arm that cannot be measured is left out."""
    paces = kept_paces(jobs)
    missing = [job for job in jobs if job.arm not in paces]
    if not missing:
        return paces
    until, device, before = time.monotonic() + seconds, pick_device(), cpu_clock()
    timing = _Timing(loaded, device=device, product_rate=matrix_rate(DTYPES[missing[0].dtype], device=device))
    trainings = {job.key: job for job in missing if job.is_tuned}
    each = seconds * _TRAINING_SHARE / max(1, len(trainings))
    trained = {key: _or_none(partial(timing.train, job, seconds=each)) for key, job in trainings.items()}
    samplings = {job.sampling_key: job for job in missing}
    each = max(1.0, until - time.monotonic()) / len(samplings)
    sampled = {
        key: _or_none(partial(timing.sample, job, tokenizer=tokenizer_of(job.arm), seconds=each, greedy=greedy))
        for key, job in samplings.items()
    }
    taken = _taken_since(before)
    for job in missing:
        arm, timed = loaded.trial.arms[job.arm], sampled[job.sampling_key]
        pace = _pace(job, arm=arm, trained=trained.get(job.key), sampled=timed)
        if pace is not None:
            paces[job.arm] = replace(pace, taken=taken)
            if taken is None:  # a busy machine's rates are of this hour, not of the machine
                keep_pace(job.key, pace)
    return paces


def _taken_since(before: CpuClock | None) -> float | None:
    """Processors that others took while rates were measured; None where that is not known, or too few to matter."""
    now = cpu_clock()
    if before is None or now is None:
        return None
    taken = now.taken_since(before)
    return taken if taken > _CALM * cores() else None


def _or_none(work: Callable[[], Any]) -> Any:
    """What `work` gives; None where this model cannot be measured here: the plan is then rough, and says so."""
    try:
        return work()
    except (FinetrialError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoding:
    """At the whole depth: reading prompts, and decoding steps of many sequences and of few."""

    prompt_seconds: float
    prompt_flops: int
    many: int
    many_seconds: float
    few: int
    few_seconds: float


class _Timing:
    """Times arms' steps and sampling on a device whose rate of matrix products is known."""

    def __init__(self, loaded: LoadedTrial, *, device: Any, product_rate: float) -> None:
        self._loaded, self._device, self._rate = loaded, device, product_rate * STEP_SHARE

    def _config(self, job: PaceJob) -> Any:
        trial = self._loaded.trial
        source = self._loaded.model_source(trial.model_of(job.arm))
        return load_config(source, trust_remote_code=trial.trust_remote_code)

    def train(self, job: PaceJob, *, seconds: float) -> TrainingSeconds:
        """The arm's step on a micro-batch like its own."""
        arm = self._loaded.trial.arms[job.arm]
        return timed_training(
            self._config(job),
            shape=job.shape,
            method=arm.tuning,
            lengths=job.batches.lengths,
            loss_tokens=job.batches.loss_tokens,
            dtype=job.dtype,
            device=self._device,
            optimizer=self._loaded.trial.training.optimizer,
            checkpointing=bool(job.memory.checkpointing),
            step_rate=self._rate,
            seconds=seconds,
        )

    def sample(self, job: PaceJob, *, tokenizer: Any, seconds: float, greedy: bool) -> _Decoding:
        """The arm's sampling of a batch like its own, and of a smaller one."""
        batches, shape, prompts = job.batches, job.shape, job.batches.prompts
        while True:
            flops = forward_flops(shape, lengths=[batches.prompt_tokens] * prompts, head_tokens=prompts)
            affordable = seconds * _PROMPT_SHARE * self._rate / max(flops.by_layer())
            if affordable >= 2 or prompts == 1:
                break
            prompts = max(1, prompts // 2)
        depths, few_prompts = depths_for(shape, affordable=affordable), max(1, prompts // _FEW)
        config = self._config(job)
        many: list[SamplingSeconds] = []
        few: list[SamplingSeconds] = []
        for depth in depths:
            model = few_layers(config, depth, dtype=DTYPES[job.dtype], device=self._device)
            for found, count in ((many, prompts), (few, few_prompts)):
                found.append(
                    measure_sampling(
                        model,
                        tokenizer,
                        prompt_tokens=batches.prompt_tokens,
                        prompts=count,
                        per_prompt=batches.per_prompt,
                        greedy=greedy,
                    )
                )

        least = _least_share(flops.by_layer(), total=flops.total, depths=depths)

        def whole(seconds: list[float]) -> float:
            return at_whole_depth(seconds, depths=depths, whole=shape.depth, least_share=least)

        return _Decoding(
            prompt_seconds=whole([one.prompt_seconds for one in many]),
            prompt_flops=flops.total,
            many=prompts * batches.per_prompt,
            many_seconds=whole([one.step_seconds for one in many]),
            few=few_prompts * batches.per_prompt,
            few_seconds=whole([one.step_seconds for one in few]),
        )


def timed_training(
    config: Any,
    *,
    shape: Shape,
    method: TunedMethod,
    lengths: Sequence[int],
    loss_tokens: int,
    dtype: str,
    device: Any,
    optimizer: OptimizerName,
    checkpointing: bool,
    step_rate: float,
    seconds: float,
) -> TrainingSeconds:
    """A step's seconds at the model's whole depth, measured within about `seconds`.

    Timed on a part of the micro-batch where even two layers of all of it take too long; `step_rate` FLOPs a second
    tell beforehand what there is time for.
    """
    counted = method.counted()
    assert counted is not None
    budget, lengths, share = seconds / _STEPS_A_DEPTH, list(lengths), loss_tokens / sum(lengths)
    while True:
        loss_tokens = max(1, round(share * sum(lengths)))
        flops = step_flops(
            shape, method=counted, lengths=lengths, loss_tokens=loss_tokens, checkpointing=checkpointing
        )
        layers = flops.by_layer()
        affordable = (budget * step_rate - (flops.total - sum(layers))) / max(layers)
        if affordable >= 2 or len(lengths) == 1:
            break
        lengths = lengths[: -(-len(lengths) // 2)]
    depths = depths_for(shape, affordable=affordable)
    return measure_training(
        config,
        method=method,
        lengths=lengths,
        loss_tokens=loss_tokens,
        dtype=DTYPES[dtype],
        device=device,
        depths=depths,
        least_share=_least_share(layers, total=flops.total, depths=depths),
        optimizer=optimizer,
        checkpointing=checkpointing,
    )


def _least_share(layers: Sequence[int], *, total: int, depths: Sequence[int]) -> float:
    """Of the time at the greatest depth, what one layer takes at the least, by its share of the FLOPs there."""
    layer = sum(layers) / len(layers)
    return LEAST_LAYER_SHARE * layer / (total - sum(layers) + layer * depths[-1])


def depths_for(shape: Shape, *, affordable: float) -> tuple[int, ...]:
    """The whole depth where there is time for it, else two that tell a layer from the rest."""
    deep = max(2, min(shape.depth, int(affordable)))
    return (shape.depth,) if deep >= shape.depth else (max(1, deep // 3), deep)


def _pace(job: PaceJob, *, arm: Arm, trained: TrainingSeconds | None, sampled: _Decoding | None) -> Pace | None:
    """The rates that the seconds come to; None where a part could not be measured."""
    if sampled is None or (job.is_tuned and trained is None):
        return None
    if sampled.many > sampled.few:
        each = max(0.0, sampled.many_seconds - sampled.few_seconds) / (sampled.many - sampled.few)
    else:
        each = sampled.many_seconds / (2 * sampled.many)
    prefill = sampled.prompt_flops / sampled.prompt_seconds
    # an arm that is not tuned passes text forward at the rate at which it reads prompts, and steps nothing
    rates = TrainingRates(prefill, prefill, 1.0)
    if trained is not None:
        method = method_of(arm)
        assert method is not None
        checkpointing = bool(job.memory.checkpointing)
        rates = training_rates(
            trained, shape=job.shape, method=method, dtype=job.dtype, checkpointing=checkpointing
        )
    return Pace(
        step_flops=rates.step_flops,
        forward_flops=rates.forward_flops,
        prefill_flops=prefill,
        optimizer_bandwidth=rates.optimizer_bandwidth,
        decode_seconds=max(0.0, sampled.many_seconds - each * sampled.many),
        sequence_seconds=each,
        origin="measured",
        source="measured here at the model's own shapes",
    )


@dataclass(frozen=True, slots=True)
class TrainingRates:
    """Useful FLOPs a second of a step and of a loss without gradients, and the optimizer's bytes a second."""

    step_flops: float
    forward_flops: float
    optimizer_bandwidth: float


def training_rates(
    timed: TrainingSeconds, *, shape: Shape, method: Method, dtype: str, checkpointing: bool
) -> TrainingRates:
    """The rates that timed seconds come to."""
    step = step_flops(
        shape, method=method, lengths=timed.lengths, loss_tokens=timed.loss_tokens, checkpointing=checkpointing
    )
    forward = forward_flops(
        shape,
        lengths=timed.lengths,
        head_tokens=timed.loss_tokens,
        adapter=method if isinstance(method, Beside) else None,
    )
    traffic = optimizer_traffic(timed.optimizer_parameters, dtype_bytes=bytes_per_param(dtype))
    return TrainingRates(
        step.total / timed.step_seconds,
        forward.total / timed.forward_seconds,
        traffic / max(timed.optimizer_seconds, 1e-9),
    )
