"""How finetrial tunes the workload on a card: the loop that `finetrial tune` runs, on weights made on the card."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.gpu.profiling import StepProfile, shares_of
from benchmarks.gpu.result import Result
from benchmarks.gpu.shapes import LORA_RANK, LORA_TARGETS, Method, ShapeName, make_model, useful_flops
from benchmarks.gpu.workload import PROFILED, WARMUP, Work, plain_tokenizer
from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.loading import fuse_activations
from finetrial.models.quantize import load_quantized
from finetrial.store.records import TrainingPoint
from finetrial.training.arm_setup import TrainingSetup, set_up
from finetrial.training.loop import tune_with
from finetrial.training.task import Progress, TuneTask

_RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}  # of learning; they decide no speed


@dataclass(frozen=True, slots=True)
class OurJob:
    """What is tuned."""

    shape: ShapeName
    method: Method
    work: Work
    steps: int  # timed
    device: torch.device
    label: str = "finetrial"
    base: Path | None = None  # saved weights, for four bits
    optimizer: str = "adamw"
    profiled: bool = True


class _Make:
    """Brings the model: on the card, at the precision that the method starts from."""

    def __init__(self, job: OurJob) -> None:
        self._job = job
        self.ready: TrainingSetup | None = None

    def __call__(self, task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
        job = self._job
        if job.method == "qlora":
            model = load_quantized(str(job.base), dtype=dtype, device=device)
        else:
            model = make_model(job.shape, dtype=torch.float32 if job.method == "full" else dtype, device=device)
            fuse_activations(model)
        self.ready = set_up(task, model=model, tokenizer=plain_tokenizer(), fresh=(), dtype=dtype)
        return self.ready


def run_ours(job: OurJob) -> Result:
    """Tune, and time the steps by when their numbers came back."""
    began = time.perf_counter()
    last = WARMUP + job.steps
    ends: dict[int, float] = {}
    allocations: dict[int, int] = {}
    profile = StepProfile(job.device)
    cuda = job.device.type == "cuda"

    def on_progress(progress: Progress) -> None:
        ends[progress.step] = time.perf_counter()
        if cuda:
            allocations[progress.step] = torch.cuda.memory_stats(job.device).get("num_device_alloc", 0)
        if progress.step == last and job.profiled:
            profile.start()

    lora = Lora(
        rank=LORA_RANK,
        targets=LORA_TARGETS,
        alpha=2.0 * LORA_RANK,
        quantize="nf4" if job.method == "qlora" else None,
    )
    make = _Make(job)
    with tempfile.TemporaryDirectory() as folder:
        task = TuneTask(
            model=job.shape,
            train=job.work.examples,
            folder=Path(folder),
            method=Full() if job.method == "full" else lora,
            batch_tokens=job.work.batch_tokens,
            schedule="constant",
            warmup=0.0,
            learning_rate=_RATES[job.method],
            precision="bfloat16",
            optimizer=job.optimizer,  # type: ignore[arg-type]
            checkpoint_seconds=math.inf,
            keeps_weights=False,
            evaluations=1,
            device=job.device.type,
        )
        points: list[TrainingPoint] = []
        measured = tune_with(task, make, on_progress=on_progress, on_point=points.append)
        profile.stop()
    shares, slowest = shares_of(profile.spans(), steps=PROFILED - 1)
    timed = job.work.timed(job.steps)
    assert make.ready is not None
    paths = [f"{p.name}: {'' if p.on else 'not used: '}{p.reason}" for p in make.ready.loss_model.fast_paths]
    return Result(
        job.label,
        tokens=sum(len(example.token_ids) for example in timed),
        seconds=ends[last] - ends[WARMUP],
        useful_flops=useful_flops(job.shape, job.method, timed),
        peak_bytes=torch.cuda.max_memory_allocated(job.device) if cuda else measured.peak_memory_bytes or 0,
        reserved_bytes=torch.cuda.max_memory_reserved(job.device) if cuda else 0,
        losses=tuple(row.train_loss for row in points if row.train_loss is not None),
        first_step_seconds=ends[1] - began,
        late_allocations=allocations[last] - allocations[3] if cuda else None,
        shares=shares,
        slowest=slowest,
        notes=(f"micro-batch {measured.micro_tokens or 0:,} tokens", *paths),
    )
