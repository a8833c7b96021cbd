"""Attention of a packed row as padded batches of like lengths: a few calls of torch's own, at any precision.

Padding stands behind an example's tokens, where causal attention never looks, so no mask is needed. It is the plain
twin of the kernels for a packed row and runs on every device; a row of 60 examples makes about five calls.

Shapes: T tokens of the row, H heads, K key-value heads, D head size; n examples of L tokens in a size class.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from finetrial.models.kernels.rows_layout import RowLayout, SizeClass, size_classes


def window_mask(length: int, *, window: int, device: torch.device) -> torch.Tensor:
    """Token i sees itself and the `window` - 1 tokens before it: [L, L]."""
    places = torch.arange(length, device=device)
    distance_LL = places[:, None] - places[None, :]
    return (distance_LL >= 0) & (distance_LL < window)


def repeat_heads(states_THD: torch.Tensor, *, heads: int) -> torch.Tensor:
    """Each key-value head stands for the query heads beside it: [T, K, D] -> [T, H, D]."""
    times = heads // states_THD.shape[1]
    return states_THD if times == 1 else states_THD.repeat_interleave(times, dim=1)


def _spread(rows_tHD: torch.Tensor, group: SizeClass) -> torch.Tensor:
    """A size class's tokens as a padded batch: [n, H, L, D]."""
    flat = rows_tHD
    if group.places_t is not None:
        flat = rows_tHD.new_zeros(group.examples * group.length, *rows_tHD.shape[1:])
        flat = flat.index_put((group.places_t,), rows_tHD)
    spread: torch.Tensor = flat.unflatten(0, (group.examples, group.length))
    return spread.transpose(1, 2)


def padded_attention(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    *,
    layout: RowLayout,
    scaling: float,
    window: int | None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Causal attention of every example to itself: [T, H, D]. Every token sees at most `window` tokens."""
    heads, device = query_THD.shape[1], query_THD.device
    classes: tuple[SizeClass, ...] | None = layout.derived.get("classes")
    if classes is None:
        classes = layout.derived["classes"] = size_classes(layout.runs, device=device)
    states = (query_THD, repeat_heads(key_TKD, heads=heads), repeat_heads(value_TKD, heads=heads))
    sizes = [
        group.examples * group.length if group.places_t is None else group.places_t.numel() for group in classes
    ]
    outputs = []
    # split, not slicing: its backward is one concatenation instead of a zero-filled row per class
    for group, *parts in zip(classes, *(x.split(sizes) for x in states), strict=True):
        mask_LL = None
        if window is not None and window < group.length:
            mask_LL = window_mask(group.length, window=window, device=device)
        query, key, value = (_spread(part, group) for part in parts)
        out_nHLD = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask_LL,
            is_causal=mask_LL is None,
            scale=scaling,
            dropout_p=dropout,
        )
        out_tHD = out_nHLD.transpose(1, 2).flatten(0, 1)
        outputs.append(out_tHD if group.places_t is None else out_tHD.index_select(0, group.places_t))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
