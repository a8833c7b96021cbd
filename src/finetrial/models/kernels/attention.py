"""The examples of one packed row attend, each to itself alone, at the cost of its own square.

One attention function is registered with transformers' AttentionInterface. A packed row holds its examples end to
end, longest first; `block_runs` says where they are: (2, 5), (1, 9) is two examples of 5 tokens and one of 9. On a
CPU the same chunk of all examples is one batch of matrix products; on other devices the row has a layout, whose
kernel takes all examples at once. Nothing is computed between examples.

Shapes: B rows (1 when packed), H heads, K key-value heads, T tokens of the row, D head size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from finetrial.models.kernels.block_products import BlockRuns, block_products
from finetrial.models.kernels.padded_attention import padded_attention, window_mask
from finetrial.models.kernels.rows_layout import RowLayout, layout_of

BLOCK_ATTENTION = "finetrial_blocks"

# What a model may pass to its attention and this function computes; anything else would be dropped in silence.
_HARMLESS = frozenset({"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal"})


class UnsupportedAttention(Exception):
    """The model asks of its attention what block attention does not compute."""


def _attend_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """A row without blocks: causal attention of the whole."""
    length = query.shape[2]
    mask_LL = None
    if window is not None and window < length:
        mask_LL = window_mask(length, window=window, device=query.device)
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask_LL, dropout_p=dropout, is_causal=mask_LL is None, scale=scaling
    )


def refuse_others(
    *, softcap: float | None, attention_mask: torch.Tensor | None, others: Mapping[str, object]
) -> None:
    """Raises UnsupportedAttention where a model asks more of its attention than queries, keys and values say."""
    unknown = sorted(k for k, v in others.items() if v is not None and k not in _HARMLESS)
    if softcap is not None or unknown or attention_mask is not None:
        raise UnsupportedAttention("softcap" if softcap is not None else ", ".join(unknown) or "attention_mask")


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
    block_runs: BlockRuns | RowLayout | None = None,
    **kwargs: object,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each block of a packed row. Returns [B, T, H, D], as the interface wants it.

    Raises UnsupportedAttention for score caps, sinks, biases and masks, which some models need.
    """
    refuse_others(softcap=softcap, attention_mask=attention_mask, others=kwargs)
    heads, size = query.shape[1], query.shape[3]
    if block_runs is None:
        key, value = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (key, value))
        out = _attend_row(query, key, value, dropout=dropout, scaling=scaling, window=sliding_window)
        return out.transpose(1, 2), None
    assert query.shape[0] == 1
    scale = size**-0.5 if scaling is None else scaling
    # squeezed, not indexed: the gradient of an index is a matrix of zeros with one copied in
    q_THD, k_TKD, v_TKD = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
    if isinstance(block_runs, RowLayout) and dropout == 0:
        return block_runs.kernel.run(q_THD, k_TKD, v_TKD, layout=block_runs, scaling=scale, window=sliding_window)[
            None
        ], None
    if dropout == 0 and query.device.type == "cpu" and not isinstance(block_runs, RowLayout):
        out_THD = block_products(q_THD, k_TKD, v_TKD, runs=block_runs, scaling=scale, window=sliding_window)
        return out_THD[None], None
    layout = block_runs
    if not isinstance(layout, RowLayout):
        layout = layout_of(layout, kernel=None, device=query.device)
    found = padded_attention(
        q_THD, k_TKD, v_TKD, layout=layout, scaling=scale, window=sliding_window, dropout=dropout
    )
    return found[None], None


AttentionInterface.register(BLOCK_ATTENTION, block_attention)
