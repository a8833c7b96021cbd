"""GELU's tanh form, with a fast gradient at bfloat16 on a CPU.

gelu(x) = x s(u), u = x (c0 + c1 x^2), with s the logistic function, c0 = 2 sqrt(2 / pi) and c1 = 0.044715 c0: the
same as 0.5 x (1 + tanh(u / 2)) of Hendrycks & Gimpel (2016, section 2), because tanh(u / 2) = 2 s(u) - 1. torch
takes the tanh twice, forward and backward, and its tanh is several times slower than its logistic function. Here
value and derivative come from one logistic function, in float32, a chunk at a time; the derivative is kept for the
backward pass instead of the input (docs/decisions.md has the times).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from finetrial.models.kernels.place import Forward, Inputs, Kernel
from finetrial.models.kernels.where import in_cpu_training, no_cpu_training

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


def _fast(module: nn.Module) -> Forward | None:
    return _forward if "GELU" in type(module).__name__.upper() and not any(module.children()) else None


def _forward(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return tanh_gelu(x)


def _inputs(module: nn.Module, generator: torch.Generator) -> Inputs:
    return (torch.cat([torch.randn(400, generator=generator) * 2, torch.linspace(-12, 12, 100)]),), {}


TANH_GELU = Kernel("tanh-GELU", cannot=no_cpu_training, fast=_fast, inputs=_inputs, when=in_cpu_training)
