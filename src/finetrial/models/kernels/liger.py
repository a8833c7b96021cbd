"""RMS norm, gated activation and rotary attention of packed rows on a card, by liger-kernel's Triton kernels.

torch's own code makes and reads float32 copies of every norm's input and of every gate; a Triton kernel reads each
number once and rounds once. The package is optional (`pip install 'finetrial[gpu]'`); without it, or where Triton
has nothing for the card, the model's own modules stay, and the record says so.

Shapes: T tokens of a packed row, H heads, K key-value heads, D head size.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from finetrial.models.kernels import activations as gated
from finetrial.models.kernels import rms_norm, rotary_attention
from finetrial.models.kernels.accelerator import device_capabilities, why_no_triton
from finetrial.models.kernels.attention import block_attention
from finetrial.models.kernels.place import Forward, Kernel
from finetrial.models.kernels.recompute import overwritten, recomputable

PACKAGE = "liger_kernel"


def why_no_liger(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why the package's kernels are of no use on a device at a precision; None: they can be tried."""
    if (reason := why_no_triton(device_capabilities(device))) is not None:
        return reason
    if importlib.util.find_spec(PACKAGE) is None:
        return "liger-kernel is not installed: pip install 'finetrial[gpu]'"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it is made for half precisions; at {str(dtype).removeprefix('torch.')} torch's own stays"
    return None


def several_tokens(x: torch.Tensor) -> bool:
    """Whether a row has more than one token: one token's work is smaller than starting a kernel of Triton's."""
    return x.numel() > x.shape[0] * x.shape[-1]


def _function(module: str, name: str) -> Any:
    logging.getLogger(PACKAGE).setLevel(logging.ERROR)  # it tells of every kind of card that is not here
    return getattr(importlib.import_module(f"{PACKAGE}.ops.{module}"), name)


# -- RMS norm


def card_rms_norm(x: torch.Tensor, weight: torch.Tensor, *, eps: float, offset: float = 0.0) -> torch.Tensor:
    """`rms_norm.plain_rms_norm`; the gradient that comes in is left alone, other sums may hold it."""
    run = _function("rms_norm", "LigerRMSNormFunction").apply
    how = (eps, offset, "gemma" if offset else "llama", False)
    y: torch.Tensor = run(x, weight, *how)
    x, weight = x.detach(), weight.detach()
    return recomputable(y, lambda: run(x, weight, *how))


def _norm(module: Any, x: torch.Tensor) -> torch.Tensor:
    return card_rms_norm(x, module.weight, eps=rms_norm.eps_of(module))


def _norm_of_gemma(module: Any, x: torch.Tensor) -> torch.Tensor:
    return card_rms_norm(x, module.weight, eps=rms_norm.eps_of(module), offset=1.0)


def _fast_norm(module: nn.Module) -> tuple[Forward, ...]:
    return (_norm, _norm_of_gemma) if rms_norm.is_norm(module) else ()


# -- gated activation


def card_gated_silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`gated.plain_gated_silu`; both are overwritten by their gradients in the backward pass."""
    return _gated("swiglu", "LigerSiLUMulFunction", gate, up)


def card_gated_gelu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`gated.plain_gated_gelu`; both are overwritten by their gradients in the backward pass."""
    return _gated("geglu", "LigerGELUMulFunction", gate, up)


def _gated(module: str, name: str, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    run = _function(module, name).apply
    found: torch.Tensor = run(gate, up)
    gate, up = gate.detach(), up.detach()
    return recomputable(found, lambda: run(gate, up))


def _gate_with_silu(module: Any, x: torch.Tensor) -> torch.Tensor:
    return gated.with_gate(module, x, card_gated_silu)


def _gate_with_gelu(module: Any, x: torch.Tensor) -> torch.Tensor:
    return gated.with_gate(module, x, card_gated_gelu)


def _fast_gate(module: nn.Module) -> tuple[Forward, ...]:
    return (_gate_with_silu, _gate_with_gelu) if gated.has_gate(module) else ()


# -- rotary attention


def _attention(
    module: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    attention_mask: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A Llama-like attention module's forward where its row is packed; its own elsewhere."""
    if not rotary_attention.is_plain_row(module, hidden_states, position_embeddings, attention_mask, kwargs):
        found: tuple[torch.Tensor, torch.Tensor | None] = type(module).forward(
            module, hidden_states, position_embeddings, attention_mask, **kwargs
        )
        return found
    assert position_embeddings is not None
    size = module.head_dim
    q, k, v = (p(hidden_states).unflatten(-1, (-1, size)) for p in (module.q_proj, module.k_proj, module.v_proj))
    if hasattr(module, "q_norm"):
        q, k = module.q_norm(q), module.k_norm(k)
    overwritten(q)
    overwritten(k)
    turn = _function("rope", "LigerRopeFunction").apply  # in place
    q, k = turn(q.transpose(1, 2), k.transpose(1, 2), *position_embeddings)
    out_1THD, _ = block_attention(
        module,
        q,
        k,
        v.transpose(1, 2),
        None,
        scaling=module.scaling,
        sliding_window=rotary_attention.window_of(module),
        block_runs=kwargs["block_runs"],
    )
    return module.o_proj(out_1THD.flatten(2)), None


CARD_NORM = Kernel(
    "RMS norm", cannot=why_no_liger, fast=_fast_norm, inputs=rms_norm.RMS_NORM.inputs, when=several_tokens
)
CARD_GATED = Kernel(
    "gated activation", cannot=why_no_liger, fast=_fast_gate, inputs=gated.GATED.inputs, when=several_tokens
)
CARD_ROTARY = Kernel(
    "rotary grouped attention",
    cannot=why_no_liger,
    fast=lambda module: _attention if rotary_attention.is_rotary(module) else None,
    inputs=rotary_attention.ROTARY_ATTENTION.inputs,
    when=several_tokens,
)
