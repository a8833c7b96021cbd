"""Put the attention of a packed row on the tape: by blocks of matrix products, or by a fused kernel.

Shapes: T tokens of the row, H heads, K key-value heads, D head size; n blocks of L tokens in a run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from finetrial.footprint.anatomy import FastPaths, anatomy_of
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Value

_CHUNK, _FILL = 64, 16  # tokens of a chunk, and what short blocks are filled up to: kernels/block_products.py


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


@dataclass(frozen=True, slots=True)
class _Cut:
    """Blocks in chunks of queries, the last one filled up."""

    tokens: int  # with those that fill up
    scores: int  # of the largest batch of products, for one head: blocks x chunk x keys
    seen: int  # keys of that batch: blocks x keys
    copies: bool  # its keys are several chunks, put side by side


def _cut(row: Row) -> _Cut:
    groups: dict[int, list[int]] = {}
    for count, length in row.runs:
        groups.setdefault(min(_CHUNK, -(-length // _FILL) * _FILL), []).extend([length] * count)
    tokens, best = 0, (0, 0, False)
    for size, lengths in groups.items():
        tokens += sum(-(-length // size) * size for length in lengths)
        for place in range(-(-max(lengths) // size)):
            blocks, keys = sum(length > place * size for length in lengths), (place + 1) * size
            best = max(best, (blocks * size * keys, blocks * keys, place > 0))
    return _Cut(tokens, *best)


def _block_bytes(row: Row, shape: Shape, *, dtype_bytes: int) -> tuple[int, int]:
    """What attention by blocks makes and lets go, forward and backward, beside its results."""
    cut, size = _cut(row), shape.head_size
    queries = cut.tokens * shape.heads * size * dtype_bytes
    keys = cut.tokens * shape.kv_heads * size
    scores, seen = cut.scores * shape.heads * dtype_bytes, cut.seen * shape.kv_heads * size * dtype_bytes
    copied = seen if cut.copies else 0
    forward = 2 * queries + 2 * keys * dtype_bytes + 2 * scores + copied
    # queries, their gradients both ways; keys and values, their gradients at float32; three chunks of scores
    backward = 3 * queries + 2 * keys * dtype_bytes + 2 * keys * 4 + 3 * scores + copied + seen
    return forward, backward


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
    turns: bool = False,
) -> Value:
    """Causal attention of every example to itself; [T, H, D]. q, k and v are kept, probabilities never.

    `turns`: q and k are rotated inside it, and kept rotated (kernels/rotary_attention.py).
    """
    size = row.tokens * shape.heads * shape.head_size * dtype_bytes
    times = 1 if paths.grouped else shape.heads // shape.kv_heads
    if not anatomy_of(shape).packs:
        # the model's own attention keeps the softmax of all scores, at float32 and, where that is wider, rounded
        k, v = repeated(tape, k, times=times), repeated(tape, v, times=times)
        numbers = shape.heads * sum(length**2 for length in row.lengths)
        kept = numbers * (4 + (dtype_bytes if dtype_bytes < 4 else 0))
        out = tape.op(
            q,
            k,
            v,
            size=size,
            kind=Kind.attention,
            saves=(q, k, v),
            keeps=kept,
            forward_bytes=2 * numbers * dtype_bytes,
            backward_bytes=2 * numbers * 4,
        )
        tape.drop(k, v)
        return out
    if paths.flash:
        # the kernel keeps its output and one number a query, and sums the query's gradient in float32
        k, v = repeated(tape, k, times=times), repeated(tape, v, times=times)
        lse = 4 * row.tokens * shape.heads
        out = tape.op(
            q,
            k,
            v,
            size=size,
            kind=Kind.attention,
            saves=(q, k, v),
            saves_result=True,
            keeps=lse,
            backward_bytes=2 * size + lse,
        )
        tape.drop(k, v)
        return out
    forward, backward = _block_bytes(row, shape, dtype_bytes=dtype_bytes)
    rotated = q.size + k.size if turns else 0
    out = tape.op(
        q,
        k,
        v,
        size=size,
        kind=Kind.attention,
        saves=(v,) if turns else (q, k, v),
        forward_bytes=forward + rotated,
        backward_bytes=backward,
    )
    if turns and out.wanted:
        tape.keep_with_last(rotated, Kind.projections)
    return out
