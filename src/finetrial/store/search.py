"""Record the learning rates that were tried for an arm and the one that was taken: arms/<arm>/search.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import with_config

from finetrial.store.records import STRICT, read_object, write_object


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class TriedRate:
    """One learning rate and what it came to."""

    learning_rate: float
    validation_loss: float | None  # nats a trained token, after its last step; None: it did not get there
    stopped: str | None  # why not, in words
    tokens: int  # processed
    seconds: float
    flops: float | None = None  # of its steps and evaluations; None: it was stopped, or an older version wrote it


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class RateSearch:
    """A search, whole or as far as it came. Every rate was tuned for the same steps."""

    inputs: str  # hash of everything that decides its outcome; another hash, another search
    start: float  # the method's default, the middle of the grid
    share: float  # of the arm's steps that each rate was tuned for
    steps: int
    tried: tuple[TriedRate, ...]  # in the order they were tried
    chosen: float | None  # None: not finished

    @property
    def seconds(self) -> float:
        return sum(rate.seconds for rate in self.tried)

    @property
    def flops(self) -> float | None:
        """Of every rate together; None where any that came to its end is not known.

        A rate that was stopped is counted by its seconds, at the FLOPs a second of those that came to their end:
        how many steps it took is not recorded.
        """
        ended = [rate for rate in self.tried if rate.stopped is None]
        known = [rate.flops for rate in ended if rate.flops is not None]
        seconds = sum(rate.seconds for rate in ended)
        if not known or len(known) < len(ended) or seconds <= 0:
            return None
        return sum(known) * (self.seconds / seconds)


def write_search(path: Path, search: RateSearch) -> None:
    """Write search.json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_object(path, search)


def read_search(path: Path) -> RateSearch | None:
    """Read search.json; None where there is none."""
    return read_object(path, RateSearch) if path.exists() else None
