"""What is measured: which trainer, which method, in which micro-batches?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Trainer = Literal["finetrial", "trl"]
Method = Literal["lora", "full"]
ModelName = Literal["tiny", "gpt2", "phi"]

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

    @property
    def label(self) -> str:
        if self.trainer == "finetrial":
            return "finetrial"
        recomputed = ", recomputed" if self.checkpointing else ""
        return f"TRL, {self.micro_batch} {'rows packed' if self.packed else 'padded'}{recomputed}"


def usual(method: Method, *, batch: int) -> Setting:
    """TRL's own batch size, padded. Its default recomputes activations, which is slower: that is left off."""
    return Setting("trl", method, micro_batch=min(8, batch), packed=False)


def known_best(method: Method) -> Setting:
    """What was fastest on two cores of a CPU in the full search (docs/results/tuning.md)."""
    if method == "lora":
        return Setting("trl", method, micro_batch=1, packed=True)
    return Setting("trl", method, micro_batch=2, packed=False)


def candidates(method: Method, *, batch: int, rows: int) -> tuple[Setting, ...]:
    """TRL's settings among which the best is sought; micro-batches divide the effective batch, which fills `rows`
    packed rows."""
    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= batch]
    return (
        *(Setting("trl", method, micro_batch=size, packed=False) for size in sizes),
        *(Setting("trl", method, micro_batch=size, packed=True) for size in sizes if size <= rows),
        Setting("trl", method, micro_batch=min(8, batch), packed=False, checkpointing=True),
    )
