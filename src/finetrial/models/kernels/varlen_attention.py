"""Attention of a packed row as one call of torch's flash attention for examples of unequal length.

`torch.nn.attention.varlen.varlen_attn` exists since torch 2.10; its arguments changed with every release since, so
they are read from its signature. It takes bfloat16 and float16, and its backward pass repeats itself bit for bit
under torch.use_deterministic_algorithms alone.

Shapes: T tokens of the row, H heads, K key-value heads, D head size.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch

from finetrial.models.kernels.padded_attention import repeat_heads
from finetrial.models.kernels.rows_layout import RowLayout

varlen_attn: Callable[..., Any] | None = None
try:
    from torch.nn.attention import varlen
except ImportError:  # before 2.10
    pass
else:
    varlen_attn = varlen.varlen_attn


# Read once: the function is traced where layers are compiled, and a signature cannot be.
_ACCEPTED = frozenset() if varlen_attn is None else frozenset(inspect.signature(varlen_attn).parameters)


def has_varlen() -> bool:
    """Whether this torch has the function."""
    return varlen_attn is not None


def varlen_arguments(
    accepted: frozenset[str], *, window: int | None, scaling: float, head_size: int, grouped: bool
) -> dict[str, Any] | None:
    """What a function with these parameters is given; None where it cannot do what is asked.

    `window` counts the token itself, torch's the tokens before it.
    """
    given: dict[str, Any] = {}
    if "window_size" in accepted:
        given["window_size"] = (-1 if window is None else window - 1, 0)
    elif "is_causal" in accepted and window is None:
        given["is_causal"] = True
    else:
        return None
    if "scale" in accepted:
        given["scale"] = scaling
    elif not math.isclose(scaling, head_size**-0.5):
        return None
    if grouped and "enable_gqa" in accepted:
        given["enable_gqa"] = True
    return given


def varlen_attention(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    *,
    layout: RowLayout,
    scaling: float,
    window: int | None,
    repeats: bool = False,
    call: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """Causal attention of every example to itself: [T, H, D]. Every token sees at most `window` tokens.

    `repeats` makes a copy of every key-value head for each of its query heads, where the function has no grouped
    heads; `call` stands in for torch's function.
    """
    heads, head_size = query_THD.shape[1], query_THD.shape[2]
    if repeats:
        key_TKD, value_TKD = repeat_heads(key_TKD, heads=heads), repeat_heads(value_TKD, heads=heads)
    grouped = key_TKD.shape[1] != heads
    accepted = _ACCEPTED if call is None else frozenset(inspect.signature(call).parameters)
    given = varlen_arguments(accepted, window=window, scaling=scaling, head_size=head_size, grouped=grouped)
    if given is None:  # this torch's function has no scale: it takes the query's
        given = varlen_arguments(
            accepted, window=window, scaling=head_size**-0.5, head_size=head_size, grouped=grouped
        )
        if given is None:
            raise NotImplementedError("this torch's varlen_attn has no sliding window")
        query_THD = query_THD * (scaling * head_size**0.5)
    function = varlen_attn if call is None else call
    assert function is not None
    found: torch.Tensor = function(
        query_THD,
        key_TKD,
        value_TKD,
        layout.starts_N1,
        layout.starts_N1,
        layout.longest,
        layout.longest,
        **given,
    )
    return found
