"""A small tuning task, and what two runs of one must share."""

import dataclasses

from tiny_models import make_examples

from finetrial.methods.lora.lora_method import Lora
from finetrial.store.records import TrainingPoint, read_rows
from finetrial.training.task import TuneTask

TRAIN, VALIDATION = make_examples(40), make_examples(6, seed=1, prefix="v")
LORA = Lora(rank=3, targets=("q", "v"), alpha=24.0)


def make_task(folder, *, model, **changes):
    settings = {
        "train": TRAIN,
        "validation": VALIDATION,
        "epochs": 2.0,
        "batch_tokens": 200,
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
        "warmup": 0.1,
        "precision": "float32",
        "micro_tokens": 90,
        "evaluations": 3,
        "device": "cpu",
    }
    return TuneTask(model=model, folder=folder, **{**settings, **changes})


def points(folder):
    return list(read_rows(folder / "metrics.jsonl", TrainingPoint))


def assert_same_run(one, other):
    """The same weights to the last bit, and the same rows of metrics.jsonl but for their seconds."""
    name = "adapter_model.safetensors" if isinstance(one.method, Lora) else "model.safetensors"
    assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    rows = [[dataclasses.replace(p, seconds=0.0) for p in points(task.folder)] for task in (one, other)]
    assert rows[0] == rows[1] and len(rows[0]) > 8
