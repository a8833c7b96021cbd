"""LoRA as it is asked for: rank, targets, scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSetting:
    """Which adapters are trained. `alpha` counts for one projection: the update is alpha / rank times B A."""

    rank: int
    targets: tuple[str, ...]  # q, k, v, o, gate, up, down, or a module's own name
    alpha: float
    dropout: float = 0.0
    dora: bool = False
    rank_stabilised: bool = False  # alpha / sqrt(rank) instead of alpha / rank
    quantize: Literal["nf4"] | None = None  # the frozen base in four bits (QLoRA)
