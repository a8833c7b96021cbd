"""Where the examples of one packed row stand, as an attention kernel wants to know it, made once a micro-batch.

Shapes: T tokens of the row, N examples, H heads, D head size, L tokens of a padded example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from finetrial.models.kernels.block_products import BlockRuns

# Padded examples and rows have few lengths, so that nothing is compiled or planned for each: two lengths an octave
# for an example, 32 for a row (at most 3 % of it, 1.6 % on average).
_LEAST, _OCTAVE_OF_ROWS = 16, 32


def padded_length(length: int) -> int:
    """The length of an example in a padded batch: 16, 24, 32, 48, 64, 96, ..."""
    size = _LEAST
    while size < length:
        if size + size // 2 >= length:
            return size + size // 2
        size *= 2
    return size


def padded_row(tokens: int) -> int:
    """The length of a padded row: a multiple of a 32nd of the power of two below it, and of 16."""
    step = max(16, (1 << (tokens.bit_length() - 1)) // _OCTAVE_OF_ROWS)
    return -(-tokens // step) * step


def lengths_of(runs: BlockRuns) -> list[int]:
    """The examples' lengths in their order."""
    return [length for count, length in runs for _ in range(count)]


def starts_of(runs: BlockRuns) -> np.ndarray:
    """Where every example begins, and the row's end: [N + 1]."""
    return np.cumsum([0, *lengths_of(runs)], dtype=np.int32)


@dataclass(frozen=True, slots=True)
class SizeClass:
    """Examples of one padded length: where their tokens stand in the row and in the padded batch."""

    examples: int
    length: int  # padded
    places_t: torch.Tensor | None  # in the padded batch, flat; None: nothing is padded


def size_classes(runs: BlockRuns, *, device: torch.device) -> tuple[SizeClass, ...]:
    """The row's examples, which come longest first, by padded length; one after another they are the row."""
    classes: list[tuple[int, list[int]]] = []
    for length in lengths_of(runs):
        size = padded_length(length)
        if not classes or classes[-1][0] != size:
            classes.append((size, []))
        classes[-1][1].append(length)
    found = []
    for size, lengths in classes:
        places = np.concatenate([np.arange(n) + i * size for i, n in enumerate(lengths)])
        full = places.size == size * len(lengths)
        found.append(
            SizeClass(len(lengths), size, None if full else torch.from_numpy(places).to(device, non_blocking=True))
        )
    return tuple(found)


@dataclass(slots=True, eq=False)
class RowLayout:
    """One row's examples for one kernel; what a kernel derives from them is kept, for every layer needs it."""

    runs: BlockRuns
    starts_N1: torch.Tensor  # int32, on the device
    longest: int  # a power of two not below the longest example, so that few values occur
    kernel: Any  # of attention_kernels.AttentionKernel
    derived: dict[Any, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(count * length for count, length in self.runs)


def layout_of(
    runs: BlockRuns, *, kernel: Any, device: torch.device, starts_N1: torch.Tensor | None = None
) -> RowLayout:
    """The layout of a row; `starts_N1` where it stands on the device already."""
    if starts_N1 is None:
        starts_N1 = torch.from_numpy(starts_of(runs)).to(device, non_blocking=True)
    longest = max(length for _, length in runs)
    return RowLayout(runs, starts_N1, 1 << (longest - 1).bit_length(), kernel)


def example_of_token(starts: np.ndarray | Sequence[int]) -> np.ndarray:
    """The number of the example that each token belongs to: [T]."""
    return np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))
