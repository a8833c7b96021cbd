"""Find the comparison of any two arms among all pairs of one metric and question."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.stats.comparison import Comparison


@dataclass(frozen=True, slots=True)
class Pairs:
    """All pairs of one metric and question."""

    all: tuple[Comparison, ...]

    def find(self, arm: str, other: str) -> Comparison | None:
        """The comparison as `arm` minus `other`."""
        for pair in self.all:
            if (pair.a, pair.b) == (arm, other):
                return pair
            if (pair.a, pair.b) == (other, arm):
                return pair.reversed()
        return None

    @property
    def smallest_reachable(self) -> float | None:
        """The least p after Holm that any of these pairs could have had; None where that is not known."""
        known = [pair.smallest_p for pair in self.all if pair.smallest_p is not None]
        return min(known) * len([pair for pair in self.all if pair.p is not None]) if known else None
