"""How long will the rest of a run take? From its own steps, the first one left out: it warms everything up."""

from __future__ import annotations

_STEPS = 3  # before an answer is given


class Pace:
    """Times the steps of one run."""

    def __init__(self) -> None:
        self._since: float | None = None  # seconds at the end of the first step
        self._steps = 0  # after the first

    def step(self, seconds: float) -> None:
        """A step has ended, `seconds` into the run."""
        if self._since is None:
            self._since = seconds
        else:
            self._steps += 1

    def seconds_left(self, seconds: float, *, steps_left: int) -> float | None:
        """The time that `steps_left` steps will take; None before a few steps have been timed."""
        if self._since is None or self._steps < _STEPS:
            return None
        return (seconds - self._since) / self._steps * steps_left
