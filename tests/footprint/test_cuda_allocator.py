"""The replay of CUDA's caching allocator against its rules, worked by hand."""

import random

from finetrial.footprint.cuda_allocator import CudaAllocator

KIB, MIB = 1 << 10, 1 << 20


def test_small_tensors_share_a_segment_of_two_mebibytes():
    a = CudaAllocator()
    assert a.rounded(1) == 512 and a.rounded(513) == 1024
    for _ in range(4):
        a.make(512 * KIB)
    assert a.reserved_bytes == 2 * MIB
    a.make(512)
    assert a.reserved_bytes == 4 * MIB


def test_middle_sizes_share_twenty_and_large_ones_are_rounded_to_two():
    a = CudaAllocator()
    a.make(8 * MIB)
    assert a.reserved_bytes == 20 * MIB
    a.make(8 * MIB)  # 12 are left: 8 of them
    assert a.reserved_bytes == 20 * MIB
    a.make(8 * MIB)  # 4 are left
    assert a.reserved_bytes == 40 * MIB
    a.make(14 * MIB + 512)  # more than the 12 that are left there
    assert a.reserved_bytes == 56 * MIB


def test_what_was_freed_is_used_again_the_smallest_that_is_large_enough():
    a = CudaAllocator()
    large, middle = a.make(40 * MIB), a.make(30 * MIB)
    a.free(large)
    a.free(middle)
    assert a.make(24 * MIB) == middle and a.reserved_bytes == 70 * MIB


def test_a_block_of_which_little_would_be_left_is_not_split():
    a = CudaAllocator()
    whole = a.make(12 * MIB)
    a.free(whole)
    a.make(11 * MIB)  # 1 MiB would be left, which is not more than 1 MiB
    a.make(2 * MIB)
    assert a.reserved_bytes == 32 * MIB


def test_freed_neighbours_join():
    a = CudaAllocator()
    parts = [a.make(5 * MIB) for _ in range(4)]
    for part in parts:
        a.free(part)
    assert a.make(9 * MIB) == parts[0] and a.make(9 * MIB) == parts[0] + 9 * MIB
    assert a.reserved_bytes == 20 * MIB


def test_no_two_tensors_overlap_and_everything_comes_back():
    rng = random.Random(0)
    a, alive = CudaAllocator(), {}
    for _ in range(3000):
        if alive and rng.random() < 0.5:
            place = rng.choice(list(alive))
            a.free(place)
            del alive[place]
        else:
            size = a.rounded(rng.choice((rng.randint(1, 2000), rng.randint(1, 3 * MIB), rng.randint(1, 30 * MIB))))
            place = a.make(size)
            assert all(place >= p + s or place + size <= p for p, s in alive.items())
            alive[place] = size
        assert sum(alive.values()) <= a.reserved_bytes
    reserved = a.reserved_bytes
    for place in alive:
        a.free(place)
    assert len(a._blocks) == len(a._free[True]) + len(a._free[False])
    a.make(15 * MIB)
    assert a.reserved_bytes == reserved
