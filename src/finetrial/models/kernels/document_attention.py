"""Attention of a packed row as compiled `flex_attention` under a document mask, made once a micro-batch.

It runs at float32, too, and where torch has no `varlen_attn`. Compiled it is one kernel; not compiled, as on a CPU
in tests, it makes every score.

Shapes: T tokens of the row, H heads, K key-value heads, D head size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from finetrial.models.kernels.rows_layout import RowLayout, example_of_token, starts_of

_TILE = 128  # queries and keys, flex_attention's own


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)


def _tiles(starts_N1: np.ndarray, *, window: int | None) -> tuple[np.ndarray, np.ndarray]:
    """For each tile of queries the first tile of keys that it sees, and the first that it sees all of."""
    tokens = int(starts_N1[-1])
    firsts = np.arange(0, tokens, _TILE)
    lasts = np.minimum(firsts + _TILE, tokens) - 1

    def start_of(places: np.ndarray) -> np.ndarray:
        return starts_N1[np.searchsorted(starts_N1, places, side="right") - 1]

    begins = start_of(firsts)
    if window is not None:
        begins = np.maximum(begins, firsts - window + 1)
    whole_from = -(-start_of(lasts) // _TILE)  # tiles from here on lie in the last query's example alone
    one_example = start_of(firsts) == start_of(lasts)
    whole_from = np.where(one_example & (window is None), whole_from, firsts // _TILE)
    return begins // _TILE, np.minimum(whole_from, firsts // _TILE)


def document_mask(layout: RowLayout, *, window: int | None, device: torch.device) -> BlockMask:
    """Which tokens of a row see which: those of their own example up to themselves, at most `window`.

    Made from the examples' places, tile by tile: a row's tokens against themselves would be hundreds of megabytes.
    """
    key = ("mask", window)
    if key not in layout.derived:
        starts_N1 = starts_of(layout.runs)
        tokens = int(starts_N1[-1])
        first_seen, first_whole = _tiles(starts_N1, window=window)
        count = first_seen.size
        numbers = np.zeros((2, count), dtype=np.int32)
        indices = np.zeros((2, count, count), dtype=np.int32)
        for tile in range(count):
            partial = [*range(first_seen[tile], first_whole[tile]), tile]
            whole = range(first_whole[tile], tile)
            for kind, seen in enumerate((partial, whole)):
                numbers[kind, tile] = len(seen)
                indices[kind, tile, : len(seen)] = seen
        example_T = torch.from_numpy(example_of_token(starts_N1)).to(device, non_blocking=True)

        def sees(batch: Any, head: Any, query: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
            own = (example_T[query] == example_T[place]) & (place <= query)
            return own if window is None else own & (query - place < window)

        put = (torch.from_numpy(x).to(device, non_blocking=True)[None, None] for x in (*numbers, *indices))
        partial_counts, whole_counts, partial_tiles, whole_tiles = put
        layout.derived[key] = BlockMask.from_kv_blocks(
            partial_counts,
            partial_tiles,
            whole_counts,
            whole_tiles,
            BLOCK_SIZE=_TILE,
            mask_mod=sees,
            seq_lengths=(tokens, tokens),
        )
    mask: BlockMask = layout.derived[key]
    return mask


def document_attention(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    *,
    layout: RowLayout,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """Causal attention of every example to itself: [T, H, D]. Every token sees at most `window` tokens."""
    device = query_THD.device
    mask = document_mask(layout, window=window, device=device)
    run: Callable[..., Any] = flex_attention
    if device.type != "cpu":
        run = _compiled()
    states = (x.transpose(0, 1)[None] for x in (query_THD, key_TKD, value_TKD))
    grouped = key_TKD.shape[1] != query_THD.shape[1]
    out_1HTD: torch.Tensor = run(*states, block_mask=mask, scale=scaling, enable_gqa=grouped)
    return out_1HTD[0].transpose(0, 1)
