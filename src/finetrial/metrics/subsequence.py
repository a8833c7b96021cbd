"""Compute the length and the members of the longest common subsequence of two token lists.

The dynamic programme is run on bits: one Python integer holds a column of the table, a 0 bit wherever the table
rises by one, so that a token of the second list costs a few operations on an integer of len(first) bits. Hyyrö,
"Bit-parallel LCS-length computation revisited", AWOCA 2004.
"""

from __future__ import annotations

from collections.abc import Sequence


def _positions(tokens: Sequence[str]) -> dict[str, int]:
    """For every token the set of its positions, as the bits of an integer."""
    bits: dict[str, int] = {}
    bit = 1
    for token in tokens:
        bits[token] = bits.get(token, 0) | bit
        bit <<= 1
    return bits


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, in tokens."""
    if len(first) > len(second):
        first, second = second, first
    positions = _positions(first)
    full = (1 << len(first)) - 1
    column = full
    for matches in filter(None, map(positions.get, second)):
        hit = column & matches
        column = ((column + hit) | (column - hit)) & full
    return len(first) - column.bit_count()


def lcs_indices(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Positions in `first` of one longest common subsequence, ascending.

    Where several are longest, the one that `rouge-score` 0.1.2 reads out of its table: from the end, a match is
    taken at once; otherwise a step is taken along `second` where the table rises by one at this place of
    `first`, along `first` where it does not.
    """
    positions = _positions(first)
    full = (1 << len(first)) - 1
    column, columns = full, [full]
    for token in second:
        matches = positions.get(token)
        if matches is not None:
            hit = column & matches
            column = ((column + hit) | (column - hit)) & full
        columns.append(column)
    i, j, found = len(first), len(second), []
    while i > 0 and j > 0:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif columns[j] >> (i - 1) & 1:
            i -= 1
        else:
            j -= 1
    return found[::-1]
