"""Rotary positions (Su et al. 2021) and attention inside blocks as one function, on a CPU.

It stands in place of what a Llama-like attention module does between its projections. Kept for the backward pass
are the rotated queries and keys, and the values; `plain_rotary_attention` is the same in torch's own operations.

Shapes: T tokens of the row, K key-value heads, G query heads of each, D head size.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from finetrial.models.kernels.block_products import BlockRuns, attend, attend_back, dense_mask
from finetrial.models.kernels.place import Forward, Inputs, Kernel, always

_WIDE_HEAD = 128  # above it, turning by a product costs more than by slices


@lru_cache(maxsize=8)
def _half_turn(size: int, dtype: torch.dtype) -> torch.Tensor:
    """The matrix that makes (-x2, x1) of (x1, x2), exact at every precision: ones, minus ones and zeros, [D, D]."""
    one = torch.eye(size // 2, dtype=dtype)
    zero = torch.zeros_like(one)
    return torch.cat((torch.cat((zero, one), dim=1), torch.cat((-one, zero), dim=1)))


def _turned(x: torch.Tensor, *, back: bool) -> torch.Tensor:
    """(-x2, x1) of (x1, x2), or its transpose (x2, -x1), where wide heads make slices the cheaper way."""
    size = x.shape[-1]
    if size > _WIDE_HEAD:
        first, second = x.chunk(2, dim=-1)
        return torch.cat((second, -first) if back else (-second, first), dim=-1)
    turn_DD = _half_turn(size, x.dtype)
    return (x.reshape(-1, size) @ (turn_DD.t() if back else turn_DD)).view(x.shape)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x cos + (-x2, x1) sin."""
    return _turned(x, back=False).mul_(sin).addcmul_(x, cos)


def _rotate_back(g: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """The transpose of `_rotate`: what gradients of rotated states are in the states."""
    return _turned(g * sin, back=True).addcmul_(g, cos)


class _RotaryAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q_TKGD: torch.Tensor,
        k_TKD: torch.Tensor,
        v_TKD: torch.Tensor,
        cos_TD: torch.Tensor,
        sin_TD: torch.Tensor,
        runs: BlockRuns,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        q_TKGD = _rotate(q_TKGD, cos_TD[:, None, None], sin_TD[:, None, None])
        k_TKD = _rotate(k_TKD, cos_TD[:, None], sin_TD[:, None])
        ctx.save_for_backward(q_TKGD, k_TKD, v_TKD, cos_TD, sin_TD)
        ctx.how = {"runs": runs, "scaling": scaling, "window": window}
        return attend(q_TKGD, k_TKD, v_TKD, **ctx.how)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q_TKGD, k_TKD, v_TKD, cos_TD, sin_TD = ctx.saved_tensors
        dq, dk, dv = attend_back(grads[0], q_TKGD, k_TKD, v_TKD, **ctx.how)
        dq = _rotate_back(dq, cos_TD[:, None, None], sin_TD[:, None, None])
        dk = _rotate_back(dk, cos_TD[:, None], sin_TD[:, None])
        return (dq, dk, dv, *(None,) * 5)


def rotary_attention(
    q_TKGD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    *,
    cos_TD: torch.Tensor,
    sin_TD: torch.Tensor,
    runs: BlockRuns,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """Attention inside each block of a packed row, queries and keys rotated before: [T, K, G, D]."""
    out: torch.Tensor = _RotaryAttention.apply(q_TKGD, k_TKD, v_TKD, cos_TD, sin_TD, runs, scaling, window)
    return out


def plain_rotary_attention(
    q_TKGD: torch.Tensor,
    k_TKD: torch.Tensor,
    v_TKD: torch.Tensor,
    *,
    cos_TD: torch.Tensor,
    sin_TD: torch.Tensor,
    runs: BlockRuns,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """The same by torch's own operations, under a dense mask."""

    def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    q = rotated(q_TKGD, cos_TD[:, None, None], sin_TD[:, None, None]).flatten(1, 2).transpose(0, 1)
    k = rotated(k_TKD, cos_TD[:, None], sin_TD[:, None]).transpose(0, 1)
    seen = dense_mask(runs, window=window)
    group = q_TKGD.shape[2]
    k, v = (x.repeat_interleave(group, dim=0) for x in (k, v_TKD.transpose(0, 1)))
    out = F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=seen, scale=scaling)[0]
    grouped: torch.Tensor = out.transpose(0, 1).unflatten(1, (-1, group))
    return grouped


def window_of(module: nn.Module) -> int | None:
    """How many tokens each sees, itself included; None: all before it."""
    window = getattr(module, "sliding_window", getattr(module.config, "sliding_window", None))
    return window if isinstance(window, int) and not isinstance(window, bool) else None


def is_plain_row(
    module: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
    attention_mask: torch.Tensor | None,
    more: dict[str, Any],
) -> bool:
    """Whether a call is that of one packed row, with nothing that the fast forms leave out."""
    rotation = position_embeddings[0] if position_embeddings is not None else None
    return (
        more.get("block_runs") is not None
        and attention_mask is None
        and more.get("cache", more.get("past_key_values")) is None
        and rotation is not None
        and rotation.shape[0] == hidden_states.shape[0] == 1
        and rotation.shape[-1] == module.head_dim
        and not (module.training and getattr(module, "attention_dropout", 0.0))
    )


def attention_forward(
    module: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A Llama-like attention module's forward where its row is packed; its own elsewhere."""
    runs = kwargs.get("block_runs")
    is_plain = is_plain_row(module, hidden_states, position_embeddings, attention_mask, kwargs)
    if not is_plain or hidden_states.device.type != "cpu":
        found: tuple[torch.Tensor, torch.Tensor | None] = type(module).forward(
            module, hidden_states, position_embeddings, attention_mask, **kwargs
        )
        return found
    assert position_embeddings is not None and runs is not None
    size = module.head_dim
    q, k, v = (
        p(hidden_states).squeeze(0).unflatten(-1, (-1, size)) for p in (module.q_proj, module.k_proj, module.v_proj)
    )
    if hasattr(module, "q_norm"):
        q, k = module.q_norm(q), module.k_norm(k)
    out_TKGD = rotary_attention(
        q.unflatten(1, (k.shape[1], -1)),
        k,
        v,
        cos_TD=position_embeddings[0][0],
        sin_TD=position_embeddings[1][0],
        runs=runs,
        scaling=module.scaling,
        window=window_of(module),
    )
    return module.o_proj(out_TKGD.flatten(1)[None]), None


def _cannot(device: torch.device, dtype: torch.dtype) -> str | None:
    return None if device.type == "cpu" else f"it is made for a CPU; on {device.type} torch's own stays"


def is_rotary(module: nn.Module) -> bool:
    """Whether a module looks like attention in Llama's form."""
    names = {name for name, _ in module.named_children()}
    has = (
        {"q_proj", "k_proj", "v_proj", "o_proj"}
        <= names
        <= {"q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"}
    )
    known = all(hasattr(module, name) for name in ("head_dim", "scaling", "config"))
    return has and known


def _fast(module: nn.Module) -> Forward | None:
    return attention_forward if is_rotary(module) else None


def _inputs(module: Any, generator: torch.Generator) -> Inputs:
    tokens = 11  # more than a narrowed window
    hidden = torch.randn(1, tokens, module.o_proj.out_features, generator=generator)
    angles = torch.rand(1, tokens, module.head_dim // 2, generator=generator) * 6
    angles = torch.cat((angles, angles), dim=-1)
    return (hidden, (angles.cos(), angles.sin()), None), {"block_runs": ((1, 7), (2, 2))}


ROTARY_ATTENTION = Kernel("rotary grouped attention", cannot=_cannot, fast=_fast, inputs=_inputs, when=always)
