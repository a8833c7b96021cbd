"""How TRL's SFTTrainer tunes the workload on a card, at settings among which the best is sought."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.gpu.profiling import StepProfile, shares_of
from benchmarks.gpu.result import Result
from benchmarks.gpu.shapes import LORA_RANK, SEED, Method, ShapeName, make_model, useful_flops, wait
from benchmarks.gpu.workload import PROFILED, WARMUP, Work, plain_tokenizer

_RATES = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_NEVER = 10_000  # steps between two log lines: a line waits for the card


@dataclass(frozen=True, slots=True)
class TrlSetting:
    """One way for TRL to tune."""

    micro_batch: int
    packed: int | None = None  # tokens of a packed row
    liger: bool = False
    recomputed: bool = False
    masters: bool = False  # float32 weights under autocast, as finetrial's full tuning keeps them

    @property
    def label(self) -> str:
        rows = f"{self.micro_batch} rows of {self.packed:,} packed" if self.packed else f"{self.micro_batch} padded"
        extra = [
            name
            for name, on in (
                ("Liger", self.liger),
                ("recomputed", self.recomputed),
                ("float32 masters", self.masters),
            )
            if on
        ]
        return ", ".join(["TRL", rows, *extra])


@dataclass(frozen=True, slots=True)
class TrlJob:
    """What is tuned, and how."""

    shape: ShapeName
    method: Method
    setting: TrlSetting
    work: Work
    steps: int
    device: torch.device
    base: Path | None = None
    profiled: bool = False


class _Ticks(TrainerCallback):
    """Waits for the card at the warm-up's end and at the last timed step's, and nowhere else."""

    def __init__(self, job: TrlJob) -> None:
        self._job, self.last = job, WARMUP + job.steps
        self.ends: dict[int, float] = {}
        self.profile = StepProfile(job.device)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step = state.global_step
        if step in (1, WARMUP, self.last):
            wait(self._job.device)
        self.ends[step] = time.perf_counter()
        if step == self.last:
            if self._job.profiled:
                self.profile.start()
            else:
                control.should_training_stop = True


def _model(job: TrlJob) -> Any:
    if job.method == "qlora":
        four_bits = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        return AutoModelForCausalLM.from_pretrained(
            job.base, dtype=torch.bfloat16, device_map={"": job.device}, quantization_config=four_bits
        )
    dtype = torch.float32 if job.setting.masters else torch.bfloat16
    return make_model(job.shape, dtype=dtype, device=job.device)


def run_trl(job: TrlJob) -> Result:
    """Tune with bfloat16 weights, the same examples in the same order."""
    began = time.perf_counter()
    setting, batch = job.setting, len(job.work.steps[0])
    accumulate = max(1, batch // setting.micro_batch)
    if setting.packed:  # as many rows a step as hold the examples of one
        accumulate = max(1, round(job.work.batch_tokens / setting.packed / setting.micro_batch))
    model = _model(job)
    gpt2 = model.config.model_type == "gpt2"
    adapters = LoraConfig(
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        target_modules=["c_attn"] if gpt2 else ["q_proj", "v_proj"],
        fan_in_fan_out=gpt2,
        task_type="CAUSAL_LM",
    )
    examples = Dataset.from_list(
        [
            {
                "input_ids": list(example.token_ids),
                "labels": [t if on else -100 for t, on in zip(example.token_ids, example.trained, strict=True)],
            }
            for example in job.work.examples
        ]
    )
    ticks = _Ticks(job)
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=setting.micro_batch,
            gradient_accumulation_steps=accumulate,
            num_train_epochs=1,
            learning_rate=_RATES[job.method],
            lr_scheduler_type="constant",
            max_length=setting.packed or max(len(example.token_ids) for example in job.work.examples),
            packing=setting.packed is not None,
            gradient_checkpointing=setting.recomputed,
            use_liger_kernel=setting.liger,
            train_sampling_strategy="sequential",
            logging_strategy="steps",
            logging_steps=_NEVER,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=job.device.type == "cpu",
            bf16=True,
            seed=SEED,
        )
        trainer = SFTTrainer(
            model=model,
            args=config,
            train_dataset=examples,
            processing_class=plain_tokenizer(),
            peft_config=None if job.method == "full" else adapters,
            callbacks=[ticks],
        )
        lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
        trainer.train()
        ticks.profile.stop()
    if ticks.last not in ticks.ends:
        raise RuntimeError(f"{len(ticks.ends)} steps of its examples: too few to time")
    rows_of_a_step = setting.micro_batch * accumulate
    tokens = sum(lengths[WARMUP * rows_of_a_step : ticks.last * rows_of_a_step])
    timed = job.work.timed(job.steps)
    shares, slowest = shares_of(ticks.profile.spans(), steps=PROFILED)
    cuda = job.device.type == "cuda"
    return Result(
        setting.label,
        tokens=tokens,
        seconds=ticks.ends[ticks.last] - ticks.ends[WARMUP],
        useful_flops=useful_flops(job.shape, job.method, timed)
        * tokens
        / sum(len(example.token_ids) for example in timed),
        peak_bytes=torch.cuda.max_memory_allocated(job.device) if cuda else 0,
        reserved_bytes=torch.cuda.max_memory_reserved(job.device) if cuda else 0,
        first_step_seconds=ticks.ends[1] - began,
        shares=shares,
        slowest=slowest,
    )
