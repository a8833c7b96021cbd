"""Count what an optimizer keeps for each trained parameter, and what it needs while it steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import unknown_name

OPTIMIZERS = ("adamw", "adamw8bit", "adafactor", "sgd")

# bitsandbytes: one float32 scale for every block of 256 entries of a moment, and float32 moments for tensors of
# fewer than 4,096 entries (optim/optimizer.py, min_8bit_size)
_BLOCK, _LEAST_8BIT = 256, 4096

# bytes that AdamW in float32 reads and writes for each parameter of a step: parameter, gradient and both moments
# are read, all but the gradient are written
ADAMW_TRAFFIC_BYTES = 28


@dataclass(frozen=True, slots=True)
class Matrix:
    """A trained parameter of `rows` x `columns`; a vector has one row."""

    rows: int
    columns: int

    @property
    def entries(self) -> int:
        return self.rows * self.columns


def state_bytes(optimizer: str, params: Sequence[Matrix]) -> int:
    """What stands between steps: AdamW two float32 moments, in 8 bits with their scales; Adafactor a row and a
    column of second moments (Shazeer & Stern 2018, section 3); SGD without momentum nothing."""
    match optimizer:
        case "adamw":
            return 8 * sum(p.entries for p in params)
        case "adamw8bit":
            return sum(_eight_bit(p.entries) for p in params)
        case "adafactor":
            return sum(4 * (p.entries if p.rows == 1 else p.rows + p.columns) for p in params)
        case "sgd":
            return 0
    raise unknown_name("optimizer", optimizer, OPTIMIZERS)


def _eight_bit(entries: int) -> int:
    return 8 * entries if entries < _LEAST_8BIT else 2 * (entries + 4 * math.ceil(entries / _BLOCK))


def step_bytes(optimizer: str, params: Sequence[Matrix]) -> int:
    """What exists while it steps: torch's Adafactor makes one matrix's second moments from its row and column."""
    if optimizer != "adafactor" or not params:
        return 0
    return 4 * max(p.entries for p in params)
