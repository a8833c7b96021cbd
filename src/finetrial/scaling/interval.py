"""An interval of a fitted quantity, which may be open, and how many runs ask for which kind."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.95
FEW_RUNS = 30  # below so many runs a bootstrap of runs loses the only large one too often
FEWEST_RUNS = 8  # five coefficients and three degrees of freedom for the noise


@dataclass(frozen=True)
class Interval:
    """The values of one quantity that the runs do not reject. None: open, the runs never reject that side."""

    low: float | None
    high: float | None

    @property
    def identified(self) -> bool:
        return self.low is not None and self.high is not None

    @property
    def unbounded(self) -> bool:
        return self.low is None and self.high is None
