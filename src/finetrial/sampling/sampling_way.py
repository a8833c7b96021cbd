"""Name the ways of sampling: many sequences at once, or one at a time where that is not right for a model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """The ways, the fastest first."""

    SHARED = "prompts shared by their samples"  # prompts enter as others end; attention is ours (engine.py)
    BATCHED = "padded batches"  # the model's own attention and cache, the cache repeated for each sample
    ALONE = "one sequence at a time"  # the model's own generation loop with its own cache
    UNCACHED = "one sequence at a time, without a cache"  # the whole sequence is read again for every token


@dataclass(frozen=True, slots=True)
class SamplingWay:
    """A way, and why none that is faster is right for the model."""

    way: Way
    reason: str | None = None  # None: it is the fastest

    def __str__(self) -> str:
        return str(self.way) if self.reason is None else f"{self.way}: {self.reason}"


SHARED = SamplingWay(Way.SHARED)
