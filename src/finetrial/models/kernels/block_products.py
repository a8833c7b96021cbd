"""Causal attention inside blocks, made of plain matrix products, forward and backward, for a CPU.

Every block is cut into chunks of queries, the last one filled up; the same chunk of all blocks that reach so far is
one batch of products, so that a row of a hundred lengths takes no more calls than one of its longest. What fills a
block up stands behind its tokens, where causality hides it. Query heads that share a key head are rows of one
matrix: keys and values are never repeated. Little of the masked half is computed, only the diagonal meets a mask,
and probabilities are made again in the backward pass instead of being kept (docs/decisions.md has the times).
`plain_block_attention` is the same under a dense mask.

Shapes: T tokens of the row, H query heads, K key heads, G = H / K, D head size; c tokens of a chunk, e keys that it
sees, b matrices: K for each block; R rows in the order of the chunks: blocks, key heads, tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from finetrial.models.kernels.private_calls import softmax_gradient

BlockRuns = tuple[tuple[int, int], ...]  # (how many blocks, tokens of each)

_CHUNK = 64  # tokens; measured on two cores of an AMD EPYC with AVX512-BF16 against 32, 96 and 128
_STEP = 16  # what short blocks are filled up to a multiple of


@dataclass(frozen=True, slots=True)
class _Group:
    """Blocks that are cut alike, longest first: how many reach each chunk, and how many tokens a chunk has."""

    size: int
    blocks: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """Where every token and key head of a row stands in the order of the chunks."""

    groups: tuple[_Group, ...]
    rows_R: torch.Tensor  # token K + head of each row; what fills up repeats its block's last token
    back_TK: torch.Tensor  # the row of each token and head
    filling: torch.Tensor  # the rows that fill up


@lru_cache(maxsize=4)
def _cut(runs: BlockRuns, heads: int) -> _Cut:
    blocks: list[tuple[int, int]] = []  # start, length
    start = 0
    for count, length in runs:
        blocks += [(start + i * length, length) for i in range(count)]
        start += count * length
    blocks.sort(key=lambda block: -block[1])
    by_size: dict[int, list[tuple[int, int]]] = {}
    for block in blocks:
        by_size.setdefault(min(_CHUNK, -(-block[1] // _STEP) * _STEP), []).append(block)
    groups, parts, fills = [], [], []
    for size, members in by_size.items():
        reach = []
        first = 0
        while alive := [block for block in members if block[1] > first]:
            start_b1 = torch.tensor([block[0] for block in alive])[:, None]
            length_b1 = torch.tensor([block[1] for block in alive])[:, None]
            place_1c = torch.arange(first, first + size)[None]
            token_bc = start_b1 + torch.minimum(place_1c, length_b1 - 1)
            parts.append((token_bc[:, None] * heads + torch.arange(heads)[:, None]).flatten())
            fills.append((place_1c >= length_b1)[:, None].expand(-1, heads, -1).flatten())
            reach.append(len(alive))
            first += size
        groups.append(_Group(size, tuple(reach)))
    rows_R, filled_R = torch.cat(parts), torch.cat(fills)
    back_TK = torch.empty(start * heads, dtype=torch.long)
    back_TK[rows_R[~filled_R]] = torch.arange(len(rows_R))[~filled_R]
    return _Cut(tuple(groups), rows_R, back_TK, filled_R.nonzero()[:, 0])


@lru_cache(maxsize=64)
def _mask(queries: int, keys: int, group: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """Zero or minus infinity for the last `queries` of `keys` tokens, each query `group` times: [c G, e]."""
    place_c1 = torch.arange(keys - queries, keys)[:, None]
    key_1e = torch.arange(keys)[None, :]
    hidden_ce = key_1e > place_c1
    if window is not None:
        hidden_ce |= key_1e <= place_c1 - window
    mask_ce = torch.zeros(hidden_ce.shape, dtype=dtype).masked_fill_(hidden_ce, float("-inf"))
    return mask_ce.repeat_interleave(group, dim=0)


def _ordered(states: torch.Tensor, cut: _Cut, heads: int) -> torch.Tensor:
    """Rows in the order of the chunks: [T, K, ...] -> [R, rest]."""
    return states.reshape(states.shape[0] * heads, -1).index_select(0, cut.rows_R)


def _restored(rows_R: torch.Tensor, cut: _Cut, shape: torch.Size) -> torch.Tensor:
    return rows_R.index_select(0, cut.back_TK).view(shape)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One batch of products: where its queries stand, and which chunks before it its keys are."""

    rows: slice
    keys: tuple[slice, ...]  # rows of the batch's blocks alone
    size: int
    batch: int  # matrices

    def queries(self, rows_R: torch.Tensor, group: int) -> torch.Tensor:
        """[b, c G, D], a view."""
        return rows_R[self.rows].view(self.batch, self.size * group, -1)

    def seen(self, rows_R: torch.Tensor) -> torch.Tensor:
        """[b, e, D], a view where there is one chunk of keys."""
        parts = [rows_R[rows].view(self.batch, self.size, -1) for rows in self.keys]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def add_seen(self, sums_R: torch.Tensor, found_beD: torch.Tensor) -> None:
        for place, rows in enumerate(self.keys):
            part = found_beD[:, place * self.size : (place + 1) * self.size]
            sums_R[rows].view(self.batch, self.size, -1).add_(part)


def _chunks(cut: _Cut, *, heads: int, window: int | None) -> Iterator[_Chunk]:
    start = 0
    for group in cut.groups:
        starts = []
        for place, blocks in enumerate(group.blocks):
            starts.append(start)
            batch = blocks * heads
            first = 0 if window is None else max(0, place * group.size - window + 1) // group.size
            keys = tuple(slice(s, s + batch * group.size) for s in starts[first:])
            start += batch * group.size
            yield _Chunk(slice(starts[-1], start), keys, group.size, batch)


def _probabilities(
    q_brD: torch.Tensor, k_beD: torch.Tensor, *, size: int, scaling: float, window: int | None
) -> torch.Tensor:
    keys, group = k_beD.shape[1], q_brD.shape[1] // size
    scores_bre = torch.baddbmm(q_brD.new_empty(()), q_brD, k_beD.transpose(1, 2), beta=0, alpha=scaling)
    if window is None or keys <= window:  # only the diagonal is masked
        scores_bre[..., keys - size :] += _mask(size, size, group, None, q_brD.dtype)
    else:
        scores_bre += _mask(size, keys, group, window, q_brD.dtype)
    return torch.softmax(scores_bre, dim=-1)


def attend(
    q_TKGD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    *,
    runs: BlockRuns,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """Causal attention inside each block of a packed row, without gradients: [T, K, G, D]."""
    heads, group = q_TKGD.shape[1:3]
    cut = _cut(runs, heads)
    q_R, k_R, v_R = (_ordered(x, cut, heads) for x in (q_TKGD, k_TKD, v_TKD))
    out_R = torch.empty_like(q_R)
    for chunk in _chunks(cut, heads=heads, window=window):
        p_bre = _probabilities(
            chunk.queries(q_R, group), chunk.seen(k_R), size=chunk.size, scaling=scaling, window=window
        )
        torch.bmm(p_bre, chunk.seen(v_R), out=chunk.queries(out_R, group))
    return _restored(out_R, cut, q_TKGD.shape)


def attend_back(
    grad_TKGD: torch.Tensor,
    q_TKGD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    *,
    runs: BlockRuns,
    scaling: float,
    window: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients in queries, keys and values, of the gradient in what `attend` gives."""
    heads, group = q_TKGD.shape[1:3]
    cut = _cut(runs, heads)
    q_R, k_R, v_R, g_R = (_ordered(x, cut, heads) for x in (q_TKGD, k_TKD, v_TKD, grad_TKGD))
    g_R.index_fill_(0, cut.filling, 0)
    dq_R = torch.empty_like(q_R)
    dk_R, dv_R = (torch.zeros(k_R.shape, dtype=torch.float32) for _ in range(2))
    for chunk in _chunks(cut, heads=heads, window=window):
        q_brD, g_brD, k_beD = chunk.queries(q_R, group), chunk.queries(g_R, group), chunk.seen(k_R)
        p_bre = _probabilities(q_brD, k_beD, size=chunk.size, scaling=scaling, window=window)
        chunk.add_seen(dv_R, torch.bmm(p_bre.transpose(1, 2), g_brD))
        dp_bre = torch.bmm(g_brD, chunk.seen(v_R).transpose(1, 2))
        # d softmax: p (dp - sum(p dp)), in float32 inside
        ds_bre = softmax_gradient(dp_bre, p_bre)
        torch.bmm(ds_bre, k_beD, out=chunk.queries(dq_R, group))
        chunk.add_seen(dk_R, torch.bmm(ds_bre.transpose(1, 2), q_brD))
    dq_R.mul_(scaling)
    dk_R.mul_(scaling)
    return (
        _restored(dq_R, cut, q_TKGD.shape),
        _restored(dk_R.to(k_R.dtype), cut, k_TKD.shape),
        _restored(dv_R.to(v_R.dtype), cut, v_TKD.shape),
    )


def dense_mask(runs: BlockRuns, *, window: int | None) -> torch.Tensor:
    """Which token of the row sees which: [T, T]."""
    lengths = torch.tensor([length for count, length in runs for _ in range(count)])
    block_T = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    place_T = torch.arange(len(block_T))
    distance_TT = place_T[:, None] - place_T[None]
    seen_TT = (block_T[:, None] == block_T[None]) & (distance_TT >= 0)
    return seen_TT if window is None else seen_TT & (distance_TT < window)


def plain_block_attention(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    *,
    runs: BlockRuns,
    scaling: float,
    window: int | None = None,
) -> torch.Tensor:
    """As transformers' eager attention writes it: scores at the given precision, softmax in float32."""
    group = query_THD.shape[1] // key_TKD.shape[1]
    k_HTD, v_HTD = (x.transpose(0, 1).repeat_interleave(group, dim=0) for x in (key_TKD, value_TKD))
    scores_HTT = query_THD.transpose(0, 1) @ k_HTD.transpose(1, 2) * scaling
    scores_HTT = scores_HTT.masked_fill(~dense_mask(runs, window=window), float("-inf"))
    wide = torch.promote_types(scores_HTT.dtype, torch.float32)
    p_HTT = torch.softmax(scores_HTT, dim=-1, dtype=wide).to(query_THD.dtype)
    return (p_HTT @ v_HTD).transpose(0, 1)


class _BlockProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_TKGD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        runs: BlockRuns,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(q_TKGD, k_TKD, v_TKD)
        ctx.how = {"runs": runs, "scaling": scaling, "window": window}
        return attend(q_TKGD, k_TKD, v_TKD, **ctx.how)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return (*attend_back(grads[0], *ctx.saved_tensors, **ctx.how), None, None, None)


def block_products(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    *,
    runs: BlockRuns,
    scaling: float,
    window: int | None = None,
) -> torch.Tensor:
    """Causal attention inside each block of a packed row: [T, H, D]. Every block's tokens see at most `window`."""
    q_TKGD = query_THD.unflatten(1, (key_TKD.shape[1], -1))
    out: torch.Tensor = _BlockProducts.apply(q_TKGD, key_TKD, value_TKD, runs, scaling, window)
    return out.flatten(1, 2)
