"""Count the FLOPs of an arm's steps and evaluations, by footprint's formulas."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from finetrial.footprint.beside import Beside
from finetrial.footprint.flops import forward_flops, step_flops
from finetrial.methods.halves import half_of
from finetrial.methods.model_targets import shape_of
from finetrial.models.batches import trained_tokens
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded


def needed_flops(model: PreTrainedModel, task: TuneTask, *, batches: Sequence[Sequence[int]]) -> float | None:
    """What the steps over `batches` (places in the task's training examples) needed, recomputation included.

    None where footprint does not know the architecture or the method.
    """
    shape = shape_of(model)
    if shape is None:
        return None
    method = half_of(task.method).counted(task.method, model)
    if method is None:
        return None
    examples = [task.train[i] for batch in batches for i in batch]
    if not examples:
        return 0.0
    return float(
        step_flops(
            shape,
            method=method,
            lengths=[len(example.token_ids) for example in examples],
            loss_tokens=sum(trained_tokens(example) for example in examples),
            checkpointing=task.checkpointing,
        ).total
    )


def forward_only_flops(model: PreTrainedModel, task: TuneTask, examples: Sequence[Encoded]) -> float | None:
    """What the loss of the model in tuning on some examples needs; None where footprint does not know it."""
    shape = shape_of(model)
    method = half_of(task.method).counted(task.method, model)
    if shape is None or method is None:
        return None
    count = forward_flops(
        shape,
        lengths=[len(example.token_ids) for example in examples],
        head_tokens=sum(trained_tokens(example) for example in examples),
        adapter=method if isinstance(method, Beside) else None,
    )
    return float(count.total)
