"""Tune one arm in several workers of a Ray cluster, through Ray Train: the first does the step, the others follow.

What several processes do that torchrun started, these do on the cluster's machines: each takes its share of every
batch, or of the model, too. Lost workers are started again, all of them, and go on from the last checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from finetrial.training.loop import follow_tuning
from finetrial.training.ranks import joined
from finetrial.training.shared_base import SharedBase
from finetrial.workflow.remote_step import Order, run_order

_WAIT_SECONDS = 7 * 86_400  # the others wait while the first one writes; a lost one is noticed at once


def _work(config: dict[str, Any]) -> dict[str, Any] | None:
    """What each worker does. Ray has joined them into a group."""
    import ray
    import torch

    order: Order = config["order"]
    if order.threads is not None:
        torch.set_num_threads(order.threads)
    with joined() as ranks:
        if ranks.is_first:
            return run_order(order, place=ray.get_runtime_context().get_node_id())
        follow_tuning(ranks, SharedBase().prepare)
    return None


def run_in_workers(order: Order, *, workers: int, each: dict[str, float], retries: int) -> dict[str, Any] | None:
    """Run a step that tunes in so many workers. `each` is what one of them needs, by Ray's names.

    None, or the user's mistake as an object, as `run_order` gives it; errors of the workers are raised.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    storage = Path(order.folder) / "logs" / "ray" / order.step.replace(":", "-")
    on_cards = "GPU" in each
    trainer = TorchTrainer(
        _work,
        train_loop_config={"order": order},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_cards else "gloo", timeout_s=_WAIT_SECONDS),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_cards, resources_per_worker=each),
        run_config=RunConfig(
            storage_path=str(storage.absolute()), failure_config=FailureConfig(max_failures=retries)
        ),
    )
    found: dict[str, Any] | None = trainer.fit().return_value
    shutil.rmtree(storage, ignore_errors=True)
    return found
