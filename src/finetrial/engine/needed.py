"""How many FLOPs did an arm's steps need, by footprint's count?"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from finetrial.engine.batches import trained_tokens
from finetrial.engine.targets import shape_of
from finetrial.engine.task import TuneTask
from finetrial.footprint.adapters import Full, Lora, Method
from finetrial.footprint.flops import step_flops


def needed_flops(model: PreTrainedModel, task: TuneTask, *, batches: Sequence[Sequence[int]]) -> float | None:
    """What the steps over `batches` (places in the task's training examples) needed, recomputation included.

    None for an architecture that footprint does not know.
    """
    shape = shape_of(model)
    if shape is None:
        return None
    method: Method = Full()
    if task.lora is not None:
        method = Lora(rank=task.lora.rank, targets=task.lora.targets)
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
