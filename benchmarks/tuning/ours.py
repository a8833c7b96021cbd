"""How does finetrial tune the workload?"""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.tuning.clock import StepClock
from benchmarks.tuning.families import SEED
from benchmarks.tuning.setting import LORA_RANK, LORA_TARGETS, Setting
from benchmarks.tuning.workload import Workload
from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.store.records import TrainingPoint, read_rows
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask


def run_finetrial(
    setting: Setting, workload: Workload, *, base: Path, folder: Path, learning_rate: float, clock: StepClock
) -> tuple[tuple[float, ...], int]:
    """Tune as `finetrial tune` does, bfloat16 weights with float32 masters and moments. Returns the losses and the
    timed tokens."""
    lora = Lora(rank=LORA_RANK, targets=LORA_TARGETS, alpha=2.0 * LORA_RANK)
    task = TuneTask(
        model=str(base),
        train=workload.examples,
        folder=folder,
        method=lora if setting.method == "lora" else Full(),
        batch_tokens=workload.batch_tokens,
        schedule="constant",
        warmup=0.0,
        learning_rate=learning_rate,
        precision="bfloat16",
        checkpoint_seconds=math.inf,
        seed=SEED,
        device=clock.device.type,
    )
    tune(task, on_progress=lambda _: clock.tick())
    rows = read_rows(folder / "metrics.jsonl", TrainingPoint)
    losses = tuple(row.train_loss for row in rows if row.train_loss is not None)
    return losses, sum(len(example.token_ids) for example in workload.timed)
