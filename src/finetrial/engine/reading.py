"""Numbers on their way from a device: read a step late, they never hold it up.

Asking a card for a number waits for everything that was given to it before. A step's loss and gradient norm are
copied to pinned memory behind the step's own work instead, and read when the next step has been handed over.
"""

from __future__ import annotations

import torch


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
