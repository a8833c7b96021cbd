"""Put the attention of a packed row on the tape: by blocks of matrix products, or by a fused kernel.

Shapes: T tokens of the row, H heads, K key-value heads, D head size; n blocks of L tokens in a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from finetrial.footprint.anatomy import FastPaths
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Value

_CHUNK = 128  # queries at once: engine/kernels/block_products.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A micro-batch: examples end to end. `lengths` are the tokens read, `loss_tokens` those that carry loss."""

    lengths: tuple[int, ...]
    loss_tokens: int

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """How many examples have which length."""
        return tuple((count, length) for length, count in sorted(Counter(self.lengths).items()))


def _run_bytes(row: Row, shape: Shape, *, dtype_bytes: int, states: int, scores: int) -> int:
    """The largest run's copies: `states` tensors of [n L, H, D] and `scores` of a chunk's [n H, c, L]."""
    return max(
        count * shape.heads * dtype_bytes * length * (states * shape.head_size + scores * min(_CHUNK, length))
        for count, length in row.runs
    )


def repeated(tape: Tape, x: Value, *, times: int) -> Value:
    """Keys or values, each head once for every query head that reads it."""
    if times == 1:
        x.storage.holds += 1
        return x
    return tape.op(x, size=x.size * times, kind=Kind.projections)


def attention_on(
    tape: Tape,
    q: Value,
    k: Value,
    v: Value,
    *,
    shape: Shape,
    row: Row,
    paths: FastPaths,
    dtype_bytes: int,
) -> Value:
    """Causal attention of every example to itself; [T, H, D]. q, k and v are kept, probabilities never."""
    size = row.tokens * shape.heads * shape.head_size * dtype_bytes
    times = 1 if paths.grouped else shape.heads // shape.kv_heads
    k, v = repeated(tape, k, times=times), repeated(tape, v, times=times)
    flash = paths.flash
    forward = 0 if flash else _run_bytes(row, shape, dtype_bytes=dtype_bytes, states=4, scores=2)
    # by blocks: copies of the states, of their gradients, and scores; a kernel sums the query's in float32
    lse = 4 * row.tokens * shape.heads
    backward = 2 * size + lse if flash else _run_bytes(row, shape, dtype_bytes=dtype_bytes, states=8, scores=3)
    out = tape.op(
        q,
        k,
        v,
        size=size,
        kind=Kind.attention,
        saves=(q, k, v),
        saves_result=flash,
        keeps=lse if flash else 0,
        forward_bytes=forward,
        backward_bytes=backward,
    )
    tape.drop(k, v)
    return out
