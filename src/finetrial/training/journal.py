"""A run's losses on their way from the device to metrics.jsonl.

A kill loses none of them and a resumed run repeats none. They are read from a card a step late, so that they never
hold it up.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from finetrial.store.files import atomic_bytes
from finetrial.store.records import TrainingPoint, as_object, read_rows, write_rows


def _drop_torn_line(path: Path) -> None:
    """Remove what a full disk left of a last line; a whole one ends in a line break."""
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        atomic_bytes(path, whole)


class Journal:
    """metrics.jsonl: one flushed line per point."""

    def __init__(self, path: Path, *, until_step: int | None) -> None:
        """Continue after `until_step`, forgetting what was written later; None starts anew."""
        self._path = path
        kept = []
        if until_step is not None and path.exists():
            _drop_torn_line(path)
            kept = [p for p in read_rows(path, TrainingPoint) if p.step <= until_step]
        write_rows(path, kept)

    def add(self, point: TrainingPoint) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(as_object(point), ensure_ascii=False, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


class Reading:
    """A few scalars of one device, which `values` waits for."""

    def __init__(self, *scalars: torch.Tensor) -> None:
        stacked = torch.stack([scalar.detach() for scalar in scalars])
        self._event: torch.cuda.Event | None = None
        self._host = stacked
        if stacked.device.type == "cuda":
            self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def values(self) -> list[float]:
        """The scalars, once the device has made them; what was handed to it later is not waited for."""
        if self._event is not None:
            self._event.synchronize()
        return [float(value) for value in self._host.tolist()]


def reads_late(device: torch.device, *, loss_scale: float) -> bool:
    """Whether a step's numbers may be read after the next step has begun.

    Not on a CPU, where nothing is gained, nor at float16, which takes a step that overflowed again.
    """
    return device.type == "cuda" and loss_scale == 1.0
