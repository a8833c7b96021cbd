"""What is measured: which trainer, which method, in which micro-batches?"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

Trainer = Literal["finetrial", "trl"]
Method = Literal["lora", "full"]
Weights = Literal["bfloat16", "float32"]

WARMUP = 2  # steps that are not timed: the optimizer makes its moments at the end of the first
LORA_RANK, LORA_TARGETS = 4, ("q", "v")
PACKED_TOKENS = 512  # of a row, where TRL packs


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to tune. finetrial's micro-batch is a row of packed tokens by default, hence None."""

    trainer: Trainer
    method: Method
    micro_batch: int | None = None
    packed: bool = True
    checkpointing: bool = False
    weights: Weights = (
        "bfloat16"  # TRL's, under bfloat16 autocast; finetrial keeps float32 masters where it tunes all
    )

    @property
    def label(self) -> str:
        if self.trainer == "finetrial":
            return "finetrial"
        recomputed = ", recomputed" if self.checkpointing else ""
        wide = ", float32 weights" if self.weights == "float32" else ""
        return f"TRL, {self.micro_batch} {'rows packed' if self.packed else 'padded'}{recomputed}{wide}"

    @property
    def equal_state(self) -> bool:
        """Whether the optimizer keeps what finetrial's does: weights and moments at float32 where all are tuned."""
        return self.method == "lora" or self.weights == "float32"


def usual(method: Method, *, batch: int) -> Setting:
    """TRL's own batch size, padded. Its default recomputes activations, which is slower: that is left off."""
    return Setting("trl", method, micro_batch=min(8, batch), packed=False)


def known_best(method: Method, *, forms: int) -> tuple[Setting, ...]:
    """What was fastest on two cores of a CPU in searches (docs/results/tuning.md): `forms` of them, for full tuning
    at both precisions of the weights."""
    tried = ((1, True), (1, False)) if method == "lora" else ((1, True), (2, False))
    plain = tuple(Setting("trl", method, micro_batch=size, packed=packed) for size, packed in tried[:forms])
    if method == "lora":
        return plain
    return plain + tuple(dataclasses.replace(setting, weights="float32") for setting in plain)


def candidates(method: Method, *, batch: int, rows: int) -> tuple[Setting, ...]:
    """TRL's settings among which the best is sought; micro-batches divide the effective batch, which fills `rows`
    packed rows."""
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= batch]
    narrow = (
        *(Setting("trl", method, micro_batch=size, packed=False) for size in sizes),
        *(Setting("trl", method, micro_batch=size, packed=True) for size in sizes if size <= rows),
        Setting("trl", method, micro_batch=min(8, batch), packed=False, checkpointing=True),
    )
    wide = (dataclasses.replace(setting, weights="float32") for setting in narrow)
    return narrow if method == "lora" else (*narrow, *wide)
