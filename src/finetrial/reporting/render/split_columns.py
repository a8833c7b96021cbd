"""Divide a table's columns into as many parts as a width needs."""

from __future__ import annotations

from collections.abc import Sequence


def split_columns(widths: Sequence[float], *, first: float, room: float) -> list[range]:
    """Runs of columns that each fit into `room` beside the first column, which every part repeats.

    A column that is too wide even alone stands alone. No columns make one part.
    """
    parts, start, used = [], 0, first
    for place, width in enumerate(widths):
        if place > start and used + width > room:
            parts.append(range(start, place))
            start, used = place, first
        used += width
    return [*parts, range(start, len(widths))]
