"""Activations in training at bfloat16 on a CPU: tanh-GELU with its derivative kept, and the gate act(g) u.

SiLU (Elfwing et al. 2017): only g and u are kept for the backward pass, where the plain form keeps act(g), too, and
the matrix behind it the product; both are made again. That costs one SiLU more, 0.5 % of a step, for a sixth of
what a layer keeps. GELU's tanh form is dear to make: its value and derivative are made together and kept, and only
the product with u is made again.

gelu(x) = x s(u), u = x (c0 + c1 x^2), with s the logistic function, c0 = 2 sqrt(2 / pi) and c1 = 0.044715 c0: the
same as 0.5 x (1 + tanh(u / 2)) of Hendrycks & Gimpel (2016, section 2), because tanh(u / 2) = 2 s(u) - 1. torch
takes the tanh twice, forward and backward, and its tanh is several times slower than its logistic function. Here
value and derivative come from one logistic function, in float32, a chunk at a time; the derivative is kept for the
backward pass instead of the input (docs/decisions.md has the times).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from finetrial.models.kernels.place import Forward, Inputs, Kernel, in_cpu_training, why_not_on_cpu
from finetrial.models.kernels.recompute import recomputable

C0 = 2 * math.sqrt(2 / math.pi)
C1 = 0.044715 * C0
_CHUNK = 1 << 17  # entries, 1.5 MiB of float32 in three buffers; measured against 2^14 to 2^19 on an AMD EPYC


def _value_and_derivative(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value, derivative = torch.empty_like(x), torch.empty_like(x)
    size = min(_CHUNK, x.numel())
    c0 = torch.tensor(C0)
    x_all, square_all, s_all = (torch.empty(size) for _ in range(3))
    flat_x, flat_value, flat_derivative = x.view(-1), value.view(-1), derivative.view(-1)
    for start in range(0, flat_x.numel(), _CHUNK):
        part = slice(start, start + _CHUNK)
        narrow = flat_x[part]
        wide, square, s = (t[: narrow.numel()] for t in (x_all, square_all, s_all))
        wide.copy_(narrow)
        torch.mul(wide, wide, out=square)
        torch.add(c0, square, alpha=C1, out=s)
        s.mul_(wide).sigmoid_()
        slope = torch.add(c0, square, alpha=3 * C1, out=square)  # du/dx
        wide.mul_(s)
        flat_value[part].copy_(wide)
        # s + x s (1 - s) du/dx
        slope.mul_(wide)
        torch.addcmul(slope, slope, s, value=-1, out=slope)
        slope.add_(s)
        flat_derivative[part].copy_(slope)
    return value, derivative


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        value, derivative = _value_and_derivative(x.contiguous())
        ctx.save_for_backward(derivative)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        (grad,) = grads
        (derivative,) = ctx.saved_tensors
        slope: torch.Tensor = grad * derivative
        return slope


def tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    """`plain_tanh_gelu`, its gradient made beside its value."""
    value: torch.Tensor = _Gelu.apply(x)
    return value


def plain_tanh_gelu(x: torch.Tensor) -> torch.Tensor:
    """torch's own."""
    return F.gelu(x, approximate="tanh")


class TanhGelu(nn.Module):
    """`plain_tanh_gelu` as a module, in place of forms that take five operations for it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return plain_tanh_gelu(x)


def _fast_gelu(module: nn.Module) -> Forward | None:
    return _gelu_forward if "GELU" in type(module).__name__.upper() and not any(module.children()) else None


def _gelu_forward(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return tanh_gelu(x)


def _gelu_inputs(module: nn.Module, generator: torch.Generator) -> Inputs:
    return (torch.cat([torch.randn(400, generator=generator) * 2, torch.linspace(-12, 12, 100)]),), {}


TANH_GELU = Kernel("tanh-GELU", cannot=why_not_on_cpu, fast=_fast_gelu, inputs=_gelu_inputs, when=in_cpu_training)


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


def _fast_gate(module: nn.Module) -> tuple[Forward, ...]:
    return (_forward_silu, _forward_gelu) if has_gate(module) else ()


def _gate_inputs(module: Any, generator: torch.Generator) -> Inputs:
    return (torch.randn(1, 5, module.gate_proj.in_features, generator=generator),), {}


GATED = Kernel(
    "gated activation", cannot=why_not_on_cpu, fast=_fast_gate, inputs=_gate_inputs, when=in_cpu_training
)
