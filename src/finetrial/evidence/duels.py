"""Who is ahead, and how does the arm that is ahead compare with each of the others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.findings import Interval, Pair
from finetrial.stats.significance import holm


@dataclass(frozen=True, slots=True)
class Duel:
    """One arm against another, turned so that a gain above 0 is better for `arm`."""

    arm: str
    other: str
    gain: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # over all pairs of the metric, whether or not it was named before
    smallest_p: float | None
    n_units: int
    ties: int
    pair: Pair

    @property
    def is_told(self) -> bool:
        """Is the difference beyond chance at .05, after Holm?"""
        return self.p_holm is not None and self.p_holm < 0.05

    def turned(self) -> Duel:
        """The same from the other's side."""
        turn = lambda value: None if value is None else -value
        return Duel(
            self.other,
            self.arm,
            turn(self.gain),
            turn(self.high),
            turn(self.low),
            self.p,
            self.p_holm,
            self.smallest_p,
            self.n_units,
            self.ties,
            self.pair,
        )


@dataclass(frozen=True, slots=True)
class Duels:
    """All pairs of one metric and question."""

    all: tuple[Duel, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, sign: float) -> Duels:
        """`sign` is -1 where less is better."""
        corrected = holm([pair.p for pair in pairs])
        turn = lambda value: None if value is None else sign * value
        return cls(
            tuple(
                Duel(
                    pair.a,
                    pair.b,
                    turn(pair.difference),
                    turn(pair.low if sign > 0 else pair.high),
                    turn(pair.high if sign > 0 else pair.low),
                    pair.p,
                    p,
                    pair.smallest_p,
                    pair.n_units,
                    pair.ties,
                    pair,
                )
                for pair, p in zip(pairs, corrected, strict=True)
            )
        )

    def find(self, arm: str, other: str) -> Duel | None:
        """The duel seen from `arm`."""
        for duel in self.all:
            if (duel.arm, duel.other) == (arm, other):
                return duel
            if (duel.arm, duel.other) == (other, arm):
                return duel.turned()
        return None

    @property
    def smallest_reachable(self) -> float | None:
        """The least p after Holm that any of these pairs could have had; None where that is not known."""
        known = [duel.smallest_p for duel in self.all if duel.smallest_p is not None]
        return min(known) * len([d for d in self.all if d.p is not None]) if known else None


def ranking(intervals: Mapping[str, Interval], *, sign: float) -> tuple[str, ...]:
    """The arms with a mean, best first."""
    known = {arm: row.mean for arm, row in intervals.items() if row.mean is not None}
    return tuple(sorted(known, key=lambda arm: -sign * known[arm]))
