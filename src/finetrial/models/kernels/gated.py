"""The gate of a feed-forward layer, act(g) u with SiLU or tanh-GELU for act, in training at bfloat16 on a CPU.

SiLU (Elfwing et al. 2017): only g and u are kept for the backward pass, where the plain form keeps act(g), too, and
the matrix behind it the product; both are made again. That costs one SiLU more, 0.5 % of a step, for a sixth of
what a layer keeps. GELU's tanh form is dear to make: its value and derivative are made together and kept (gelu.py),
and only the product with u is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from finetrial.models.kernels.gelu import tanh_gelu
from finetrial.models.kernels.place import Forward, Inputs, Kernel
from finetrial.models.kernels.recompute import recomputable
from finetrial.models.kernels.where import in_cpu_training, no_cpu_training


class _GatedSilu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        up_grad = F.silu(gate).mul_(grads[0])
        return torch.ops.aten.silu_backward(grads[0] * up, gate), up_grad


def gated_silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`plain_gated_silu`."""
    found: torch.Tensor = _GatedSilu.apply(gate, up)
    gate, up = gate.detach(), up.detach()
    return recomputable(found, lambda: F.silu(gate).mul_(up))


def gated_gelu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`plain_gated_gelu`."""
    value = tanh_gelu(gate)
    found = value * up
    value, up = value.detach(), up.detach()
    return recomputable(found, lambda: value * up)


def plain_gated_silu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """torch's own."""
    return F.silu(gate) * up


def plain_gated_gelu(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """torch's own."""
    return F.gelu(gate, approximate="tanh") * up


def with_gate(
    module: Any, x: torch.Tensor, gated: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """A feed-forward layer's output, its gate computed by `gated`."""
    out: torch.Tensor = module.down_proj(gated(module.gate_proj(x), module.up_proj(x)))
    return out


def _forward_silu(module: Any, x: torch.Tensor) -> torch.Tensor:
    return with_gate(module, x, gated_silu)


def _forward_gelu(module: Any, x: torch.Tensor) -> torch.Tensor:
    return with_gate(module, x, gated_gelu)


def has_gate(module: nn.Module) -> bool:
    """Whether a module looks like a feed-forward layer with a gate."""
    names = {name for name, _ in module.named_children()}
    return {"gate_proj", "up_proj", "down_proj"} <= names <= {"gate_proj", "up_proj", "down_proj", "act_fn"}


def _fast(module: nn.Module) -> tuple[Forward, ...]:
    return (_forward_silu, _forward_gelu) if has_gate(module) else ()


def _inputs(module: Any, generator: torch.Generator) -> Inputs:
    return (torch.randn(1, 5, module.gate_proj.in_features, generator=generator),), {}


GATED = Kernel("gated activation", cannot=no_cpu_training, fast=_fast, inputs=_inputs, when=in_cpu_training)
