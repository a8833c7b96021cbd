"""How does TRL's SFTTrainer tune the workload?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import SFTConfig, SFTTrainer

from benchmarks.tuning.clock import StepClock
from benchmarks.tuning.families import SEED
from benchmarks.tuning.setting import LORA_RANK, PACKED_TOKENS, WARMUP, Setting
from benchmarks.tuning.workload import Workload


class _Ticks(TrainerCallback):
    def __init__(self, clock: StepClock) -> None:
        self.clock, self.losses = clock, []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.clock.tick()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs.get("logs") or {}
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def _adapters(model_type: str) -> LoraConfig:
    # GPT-2 holds q, k and v in one matrix: a stock LoRA adapts it whole, which is the usual way
    modules = ["c_attn"] if model_type == "gpt2" else ["q_proj", "v_proj"]
    return LoraConfig(
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        target_modules=modules,
        fan_in_fan_out=model_type == "gpt2",
        task_type="CAUSAL_LM",
    )


def run_trl(
    setting: Setting, workload: Workload, *, base: Path, folder: Path, learning_rate: float, clock: StepClock
) -> tuple[tuple[float, ...], int]:
    """Tune under bfloat16 autocast, the same examples in order. Returns the losses and the timed tokens."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, setting.weights))
    batch = len(workload.steps[0])
    assert setting.micro_batch is not None
    accumulate = batch // setting.micro_batch
    if setting.packed:  # as many rows a step as hold the examples of one
        accumulate = max(1, workload.packed_rows // setting.micro_batch)
    config = SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=setting.micro_batch,
        gradient_accumulation_steps=accumulate,
        num_train_epochs=1,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        max_length=PACKED_TOKENS,
        packing=setting.packed,
        gradient_checkpointing=setting.checkpointing,
        train_sampling_strategy="sequential",
        logging_strategy="steps",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        bf16=True,
        use_cpu=clock.device.type == "cpu",
        seed=SEED,
    )
    examples = Dataset.from_list(
        [
            {
                "input_ids": list(example.token_ids),
                "labels": [t if on else -100 for t, on in zip(example.token_ids, example.trained, strict=True)],
            }
            for example in workload.examples
        ]
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    ticks = _Ticks(clock)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=examples,
        processing_class=tokenizer,
        peft_config=_adapters(model.config.model_type) if setting.method == "lora" else None,
        callbacks=[ticks],
    )
    rows_of_a_step = setting.micro_batch * accumulate
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    trainer.train()
    return tuple(ticks.losses), sum(lengths[WARMUP * rows_of_a_step :])
