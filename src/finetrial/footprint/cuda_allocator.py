"""Replay torch's caching allocator on CUDA: how much it reserves for tensors that come and go.

c10/cuda/CUDACachingAllocator.cpp: sizes round up to 512 bytes. Up to 1 MiB a tensor lies in a segment of 2 MiB, up
to 10 MiB in one of 20 MiB, a larger one in a segment of its own, rounded up to 2 MiB. A free block is the smallest
that is large enough; what is left of it is split off where it is at least 512 bytes (small ones), more than 1 MiB
(large ones). Freed neighbours join; segments stay reserved.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

_MIB = 1 << 20
_ROUND, _SMALL, _SMALL_SEGMENT = 512, _MIB, 2 * _MIB
_LEAST_LARGE, _LARGE_SEGMENT, _ROUND_LARGE = 10 * _MIB, 20 * _MIB, 2 * _MIB


def _up(size: int, to: int) -> int:
    return -(-size // to) * to


@dataclass(slots=True, eq=False)
class _Block:
    address: int
    size: int
    small: bool
    before: _Block | None = None
    behind: _Block | None = None
    used: bool = False


class CudaAllocator:
    """Lays storages into segments. `reserved_bytes` is what it has asked the device for, and never falls."""

    def __init__(self) -> None:
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}  # small or not -> (size, address)
        self._blocks: dict[int, _Block] = {}  # by address
        self._next_address = 0
        self.reserved_bytes = 0

    def rounded(self, size: int) -> int:
        """What a tensor of this size takes."""
        return _up(size, _ROUND)

    def make(self, size: int) -> int:
        """Place a storage of a rounded size; returns its address, -1 for none at all."""
        if size == 0:
            return -1
        small = size <= _SMALL
        free = self._free[small]
        found = bisect.bisect_left(free, (size, -1))
        if found < len(free):
            block = self._blocks[free.pop(found)[1]]
        else:
            block = self._segment(size, small=small)
        left = block.size - size
        if left >= _ROUND if small else left > _SMALL:
            rest = _Block(block.address + size, left, small, block, block.behind)
            if block.behind is not None:
                block.behind.before = rest
            block.size, block.behind = size, rest
            self._blocks[rest.address] = rest
            self._offer(rest)
        block.used = True
        return block.address

    def free(self, place: int) -> None:
        """The storage at this address is gone; its block joins free neighbours."""
        if place < 0:
            return
        block = self._blocks[place]
        block.used = False
        for other in (block.before, block.behind):
            if other is not None and not other.used:
                self._take(other)
                block = self._join(*((other, block) if other.address < block.address else (block, other)))
        self._offer(block)

    def _segment(self, size: int, *, small: bool) -> _Block:
        if small:
            whole = _SMALL_SEGMENT
        else:
            whole = _LARGE_SEGMENT if size < _LEAST_LARGE else _up(size, _ROUND_LARGE)
        block = _Block(self._next_address, whole, small)
        self._next_address += whole + _LARGE_SEGMENT  # a gap: segments never join
        self._blocks[block.address] = block
        self.reserved_bytes += whole
        return block

    def _offer(self, block: _Block) -> None:
        bisect.insort(self._free[block.small], (block.size, block.address))

    def _take(self, block: _Block) -> None:
        free = self._free[block.small]
        place = bisect.bisect_left(free, (block.size, block.address))
        assert free[place] == (block.size, block.address)
        free.pop(place)

    def _join(self, low: _Block, high: _Block) -> _Block:
        low.size += high.size
        low.behind = high.behind
        if high.behind is not None:
            high.behind.before = low
        del self._blocks[high.address]
        return low
