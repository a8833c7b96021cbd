"""How do the examples of one packed row attend, each to itself alone, at the cost of its own square?

One attention function is registered with transformers' AttentionInterface. A packed row holds its examples end to
end, sorted by length; `block_runs` says where they are: (2, 5), (1, 9) is two examples of 5 tokens and one of 9.
Every run is one causal attention over its blocks; nothing is computed between blocks.

Shapes: B rows (1 when packed), H heads, K key-value heads, T tokens of the row, n blocks of L tokens in a run,
D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from finetrial.engine.kernels.block_products import BlockRuns, block_products

BLOCK_ATTENTION = "finetrial_blocks"

# What a model may pass to its attention and this function computes; anything else would be dropped in silence.
_HARMLESS = frozenset({"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal"})


class UnsupportedAttention(Exception):
    """The model asks of its attention what block attention does not compute."""


def attention_in_use(device: torch.device) -> str:
    """Which kernel attends inside the blocks of a packed row on this device."""
    if device.type == "cpu":
        return "matrix products in chunks of queries, block by block"
    return "torch's scaled_dot_product_attention, one call for every length"


def repeat_heads(states_BKTD: torch.Tensor, *, times: int) -> torch.Tensor:
    """Each key-value head stands for `times` query heads, neighbours: [B, K, T, D] -> [B, K times, T, D]."""
    if times == 1:
        return states_BKTD
    return states_BKTD.repeat_interleave(times, dim=1)


def _window_mask(length: int, *, window: int, device: torch.device) -> torch.Tensor:
    """Token i sees itself and the `window` - 1 tokens before it."""
    places = torch.arange(length, device=device)
    distance_LL = places[:, None] - places[None, :]
    return (distance_LL >= 0) & (distance_LL < window)


def _attend(
    query_nHLD: torch.Tensor,
    key_nHLD: torch.Tensor,
    value_nHLD: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    length = query_nHLD.shape[2]
    mask_LL = None
    if window is not None and window < length:
        mask_LL = _window_mask(length, window=window, device=query_nHLD.device)
    return F.scaled_dot_product_attention(
        query_nHLD,
        key_nHLD,
        value_nHLD,
        attn_mask=mask_LL,
        dropout_p=dropout,
        is_causal=mask_LL is None,
        scale=scaling,
    )


def block_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # B H T D
    key: torch.Tensor,  # B K T D
    value: torch.Tensor,  # B K T D
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    block_runs: BlockRuns | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each block of a packed row. Returns [B, T, H, D], as the interface wants it.

    Raises UnsupportedAttention for score caps, sinks, biases and masks, which some models need.
    """
    unknown = sorted(k for k, v in kwargs.items() if v is not None and k not in _HARMLESS)
    if softcap is not None or unknown or attention_mask is not None:
        raise UnsupportedAttention("softcap" if softcap is not None else ", ".join(unknown) or "attention_mask")
    rows, heads, tokens, _ = query.shape
    key = repeat_heads(key, times=heads // key.shape[1])
    value = repeat_heads(value, times=heads // value.shape[1])
    if block_runs is None:
        out = _attend(query, key, value, dropout=dropout, scaling=scaling, window=sliding_window)
        return out.transpose(1, 2), None
    assert rows == 1 and sum(n * length for n, length in block_runs) == tokens
    if query.device.type == "cpu" and dropout == 0:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        q_THD, k_THD, v_THD = (x[0].transpose(0, 1) for x in (query, key, value))
        out_THD = block_products(q_THD, k_THD, v_THD, runs=block_runs, scaling=scale, window=sliding_window)
        return out_THD[None], None
    sizes = [n * length for n, length in block_runs]
    outputs = []
    # split, not slicing: its backward is one concatenation instead of a zero-filled row per block
    for (n, length), q, k, v in zip(
        block_runs, query.split(sizes, dim=2), key.split(sizes, dim=2), value.split(sizes, dim=2), strict=True
    ):
        q_nHLD, k_nHLD, v_nHLD = (x[0].unflatten(1, (n, length)).transpose(0, 1) for x in (q, k, v))
        out_nHLD = _attend(q_nHLD, k_nHLD, v_nHLD, dropout=dropout, scaling=scaling, window=sliding_window)
        outputs.append(out_nHLD.transpose(1, 2).flatten(0, 1))  # n L, H, D
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None], None


AttentionInterface.register(BLOCK_ATTENTION, block_attention)
