"""Choose which learning rates a search tries, and which of them it takes: the same rule for every arm.

Five rates, half a decade apart, around the method's default; two more beyond an edge where the best lies on it,
once. Each is tuned for the same share of the arm's steps, its schedule run to the end. The lowest validation loss
decides; of equal ones the lower rate. Why, and what was measured: docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.planning.tuning_work import SearchRule
from finetrial.store.search import TriedRate

_STEP = 10**0.5  # half a decade
_EACH_SIDE, _BEYOND = 2, 2
# Each rate has a tenth of the arm's steps, but no fewer than 25, or the whole run where it is shorter.
SEARCH = SearchRule(rates=2 * _EACH_SIDE + 1, share=0.1, least_steps=25)


def _rate(start: float, place: int) -> float:
    """Two digits, so that a rate can be read and given again by hand."""
    return float(f"{start * _STEP**place:.1e}")


def first_rates(start: float) -> tuple[float, ...]:
    """The grid around the default, ascending."""
    return tuple(_rate(start, place) for place in range(-_EACH_SIDE, _EACH_SIDE + 1))


def best_rate(tried: Sequence[TriedRate]) -> float | None:
    """The rate with the lowest validation loss, of equal ones the lower; None where none got to its end."""
    reached = [row for row in tried if row.validation_loss is not None]
    if not reached:
        return None
    return min(reached, key=lambda row: (row.validation_loss, row.learning_rate)).learning_rate


def more_rates(start: float, *, tried: Sequence[TriedRate]) -> tuple[float, ...]:
    """The rates beyond the edge that the best of the first grid lies on; none where it lies inside."""
    grid = first_rates(start)
    best = best_rate([row for row in tried if row.learning_rate in grid])
    if best == grid[0]:
        return tuple(_rate(start, place) for place in range(-_EACH_SIDE - 1, -_EACH_SIDE - _BEYOND - 1, -1))
    if best == grid[-1]:
        return tuple(_rate(start, place) for place in range(_EACH_SIDE + 1, _EACH_SIDE + _BEYOND + 1))
    return ()
