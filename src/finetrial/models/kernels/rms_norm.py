"""Root-mean-square normalisation (Zhang & Sennrich 2019), forward and backward, in training at bfloat16 on a CPU.

y = x r w, r = (mean(x^2) + eps)^(-1/2); Gemma's form has 1 + w for w. A few hundred rows at a time are made
float32, stay in cache through all operations, and are rounded once. Kept for the backward pass are x, which the
residual stream holds anyway, and r: the plain form keeps two float32 copies and one more at bfloat16.

Shapes: R rows, C width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from finetrial.models.kernels.place import Forward, Inputs, Kernel, in_cpu_training, why_not_on_cpu
from finetrial.models.kernels.recompute import recomputable

_CHUNK = 1 << 17  # entries, as in activations.py


def _rows(width: int) -> int:
    return max(1, _CHUNK // width)


def _normalise(
    x_RC: torch.Tensor, weight_C: torch.Tensor, eps: float, r_R1: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """y and r; with r given it is not made again."""
    width, known = x_RC.shape[1], r_R1 is not None
    y_RC = torch.empty_like(x_RC)
    if r_R1 is None:
        r_R1 = torch.empty(x_RC.shape[0], 1)
    wide = torch.empty(min(_rows(width), x_RC.shape[0]), width)
    for start in range(0, x_RC.shape[0], _rows(width)):
        part = x_RC[start : start + _rows(width)]
        x, r = wide[: part.shape[0]], r_R1[start : start + part.shape[0]]
        x.copy_(part)
        if not known:
            torch.linalg.vector_norm(x, dim=1, keepdim=True, out=r)
            r.square_().div_(width).add_(eps).rsqrt_()
        x.mul_(r).mul_(weight_C)
        y_RC[start : start + part.shape[0]].copy_(x)
    return y_RC, r_R1


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float, offset: float, kept: list[torch.Tensor]
    ) -> torch.Tensor:
        x_RC = x.reshape(-1, x.shape[-1])
        y_RC, r_R1 = _normalise(x_RC, weight.float() + offset, eps, None)
        ctx.save_for_backward(x_RC, weight, r_R1)
        kept.append(r_R1)
        ctx.offset = offset
        return y_RC.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_RC, weight, r_R1 = ctx.saved_tensors
        grad_RC = grads[0].reshape(x_RC.shape)
        rows, width = _rows(x_RC.shape[1]), x_RC.shape[1]
        weight_C = weight.float() + ctx.offset
        weight_grad_C = torch.zeros(width) if ctx.needs_input_grad[1] else None
        dx_RC = torch.empty_like(x_RC)
        n_all, g_all, t_all = (torch.empty(min(rows, x_RC.shape[0]), width) for _ in range(3))
        for start in range(0, x_RC.shape[0], rows):
            part = x_RC[start : start + rows]
            n, g, t = (buffer[: part.shape[0]] for buffer in (n_all, g_all, t_all))
            r = r_R1[start : start + rows]
            n.copy_(part).mul_(r)
            g.copy_(grad_RC[start : start + rows])
            if weight_grad_C is not None:
                weight_grad_C += torch.mul(g, n, out=t).sum(dim=0)
            g.mul_(weight_C)
            # dx = r (w g - n mean(w g n))
            mean = torch.mul(g, n, out=t).sum(dim=1, keepdim=True).div_(width)
            g.addcmul_(n, mean, value=-1).mul_(r)
            dx_RC[start : start + rows].copy_(g)
        weight_grad = None if weight_grad_C is None else weight_grad_C.to(weight.dtype)
        return dx_RC.view(grads[0].shape), weight_grad, None, None, None


def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, eps: float, offset: float = 0.0) -> torch.Tensor:
    """`plain_rms_norm`, with one rounding."""
    kept: list[torch.Tensor] = []
    y: torch.Tensor = _RmsNorm.apply(x, weight, eps, offset, kept)
    x_RC, weight_C, r_R1 = *(t.detach() for t in (x.reshape(-1, x.shape[-1]), weight)), kept[0]

    def again() -> torch.Tensor:
        return _normalise(x_RC, weight_C.float() + offset, eps, r_R1)[0]

    return recomputable(y, again)


def plain_rms_norm(x: torch.Tensor, weight: torch.Tensor, *, eps: float, offset: float = 0.0) -> torch.Tensor:
    """As Llama writes it; with an offset, as Gemma does."""
    wide = x.float()
    normal = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    if offset:
        return (normal * (offset + weight.float())).to(x.dtype)
    return weight * normal.to(x.dtype)


def _forward(module: Any, x: torch.Tensor) -> torch.Tensor:
    return rms_norm(x, module.weight, eps=eps_of(module))


def _forward_of_gemma(module: Any, x: torch.Tensor) -> torch.Tensor:
    return rms_norm(x, module.weight, eps=eps_of(module), offset=1.0)


def eps_of(module: Any) -> float:
    """The constant under the root, by either of its names."""
    eps: float = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps
    return eps


def is_norm(module: nn.Module) -> bool:
    """Whether a module looks like such a norm."""
    weight = getattr(module, "weight", None)
    return (
        "RMSNorm" in type(module).__name__
        and isinstance(weight, torch.Tensor)
        and weight.ndim == 1
        and len(list(module.parameters())) == 1
        and (hasattr(module, "variance_epsilon") or isinstance(getattr(module, "eps", None), float))
    )


def _fast(module: nn.Module) -> tuple[Forward, ...]:
    return (_forward, _forward_of_gemma) if is_norm(module) else ()


def _inputs(module: Any, generator: torch.Generator) -> Inputs:
    return (torch.randn(3, 5, module.weight.shape[0], generator=generator),), {}


RMS_NORM = Kernel("RMS norm", cannot=why_not_on_cpu, fast=_fast, inputs=_inputs, when=in_cpu_training)
