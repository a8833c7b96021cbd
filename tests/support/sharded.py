"""Tune tiny arms in several processes that share the model out: `python sharded.py FOLDER NAME...`.

RANK and so on stand in the shell. A task `NAME:FROM` goes on from the checkpoint that was kept of FROM half way.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from small_tasks import make_task
from tiny_models import make_examples

from finetrial.methods.full.full_method import Full
from finetrial.models.batches import pack
from finetrial.training.arm_setup import prepare
from finetrial.training.loop import follow_tuning, tune_with
from finetrial.training.ranks import joined

FUSED = Full(targets=("q", "v"))  # of GPT-2: slices of a fused matrix


def task_of(folder, name, **more):
    """The task of that name, whose kind is before the dash."""
    kinds = {
        "full": {"early_stopping": 2},
        "narrow": {"precision": "bfloat16"},
        "recomputed": {"precision": "bfloat16", "checkpointing": True},
        "fused": {"method": FUSED, "weight_decay": 0.0, "model": str(folder / "gpt2")},
        "experts": {"model": str(folder / "mixture")},
        "uneven": {"train": make_examples(3), "batch_tokens": 20, "micro_tokens": 20},
    }
    kept = name.partition("-")[2] in ("", "alone", "killed") and name[:4] in ("full", "fuse")
    more = {"checkpoint_seconds": 0.0 if kept else 1000.0, **more}
    settings = {"model": str(folder / "model"), "sharding": True, **kinds[name.partition("-")[0]], **more}
    return make_task(folder / name, **settings)


def half_way(folder, name):
    """Where the checkpoint that was kept of a task stands."""
    return folder / f"{name} half way"


def keeping(folder, task):
    """Hears of a task's progress and keeps its checkpoint half way."""

    def heard(progress):
        kept = half_way(folder, task.folder.name)
        if task.checkpoint_seconds == 0 and progress.step > progress.steps // 2 and not kept.exists():
            shutil.copytree(task.folder / "checkpoint", kept / "checkpoint")
            shutil.copy(task.folder / "metrics.jsonl", kept)

    return heard


def begin_from(folder, name, *, source):
    """Let a task go on from what was kept of another."""
    shutil.copytree(half_way(folder, source), folder / name)


def measure(folder, ranks):
    """Write what this process holds of weights, gradients and moments after a step of AdamW."""
    task = task_of(folder, "full")
    setup = prepare(task, dtype=torch.float32, device=torch.device("cpu"))
    batch = setup.loss_model.bring(pack([task.train[ranks.rank]]))
    setup.loss_model.loss(batch, scale=1.0).backward()
    held = setup.sharded.held_bytes()
    setup.optimizer.step(learning_rate=1e-3, clip=1.0)
    held["states"] = setup.optimizer.state_bytes()
    (folder / f"held-{ranks.count}-{ranks.rank}.json").write_text(json.dumps(held))


def tune_all(folder, names):
    with joined() as ranks:
        measure(folder, ranks)
        if not ranks.is_first:
            return follow_tuning(ranks, prepare)
        for name in names:
            name, _, source = name.partition(":")
            if source:
                begin_from(folder, name, source=source)
            task = task_of(folder, name)
            tune_with(task, prepare, on_progress=keeping(folder, task))


if __name__ == "__main__":
    tune_all(Path(sys.argv[1]), sys.argv[2:])
