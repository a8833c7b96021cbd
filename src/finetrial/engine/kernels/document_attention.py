"""Attention of a packed row as compiled `flex_attention` under a document mask, made once a micro-batch.

It runs at float32, too, and where torch has no `varlen_attn`. Compiled it is one kernel; not compiled, as on a CPU
in tests, it makes every score.

Shapes: T tokens of the row, H heads, K key-value heads, D head size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from finetrial.engine.kernels.rows_layout import RowLayout, example_of_token, starts_of


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)


def document_mask(layout: RowLayout, *, window: int | None, device: torch.device) -> BlockMask:
    """Which tokens of a row see which: those of their own example up to themselves, at most `window`."""
    key = ("mask", window)
    if key not in layout.derived:
        example_T = torch.from_numpy(example_of_token(starts_of(layout.runs))).to(device, non_blocking=True)

        def sees(batch: Any, head: Any, query: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
            own = (example_T[query] == example_T[place]) & (place <= query)
            return own if window is None else own & (query - place < window)

        tokens = layout.tokens
        layout.derived[key] = create_block_mask(sees, None, None, tokens, tokens, device=device)
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
    run = flex_attention if device.type == "cpu" else _compiled()
    states = (x.transpose(0, 1)[None] for x in (query_THD, key_TKD, value_TKD))
    grouped = key_TKD.shape[1] != query_THD.shape[1]
    out_1HTD: torch.Tensor = run(*states, block_mask=mask, scale=scaling, enable_gqa=grouped)
    return out_1HTD[0].transpose(0, 1)
