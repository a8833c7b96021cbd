"""Matrix products in training at half precision: with a LoRA adapter as one function, or with the bias added last.

With an adapter, y = x W + b + s (x A) B: the thin products are added to the wide one's result in place, forward and
backward, where the plain form makes the adapter's output, scales it and adds it in passes of their own; the
gradients of A and B are taken with the small factor on the left, so that no wide one is transposed. A card's matrix
units read 16 bytes at once: there the rank is filled up with zeros to a multiple of 8.

torch writes a bias into the whole output first and lets the matrix product add to it, which costs more than adding
it afterwards (docs/decisions.md has the times). The price is one more rounding of the output; in evaluation and
sampling torch's own form stays. Linear gains too little (3 % at most) and stays, too.

Shapes: T tokens, I inputs, O outputs, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers.pytorch_utils import Conv1D

from finetrial.models.kernels.place import (
    Forward,
    Inputs,
    Kernel,
    in_cpu_training,
    in_half_training,
    why_not_at_half_precision,
    why_not_on_cpu,
)

_ALIGNED = 8  # numbers of two bytes that a card's matrix units read at once


def filled_up(a_rI: torch.Tensor, b_Or: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both factors at the next rank that is a multiple of 8, the new entries zero."""
    missing = -a_rI.shape[0] % _ALIGNED
    if missing == 0:
        return a_rI, b_Or
    return F.pad(a_rI, (0, 0, 0, missing)), F.pad(b_Or, (0, missing))


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_IO: torch.Tensor,
        bias_O: torch.Tensor | None,
        a_rI: torch.Tensor,
        b_Or: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        x_TI = x.reshape(-1, x.shape[-1])
        ctx.rank = a_rI.shape[0]
        if x.device.type == "cuda":
            a_rI, b_Or = filled_up(a_rI, b_Or)
        y_TO = x_TI @ weight_IO
        if bias_O is not None:
            y_TO.add_(bias_O)
        t_Tr = x_TI @ a_rI.t()
        y_TO.addmm_(t_Tr, b_Or.t(), alpha=scaling)
        ctx.save_for_backward(x_TI, weight_IO, a_rI, b_Or, t_Tr)
        ctx.scaling = scaling
        return y_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TI, weight_IO, a_rI, b_Or, t_Tr = ctx.saved_tensors
        g_TO = grads[0].reshape(-1, grads[0].shape[-1])
        u_Tr = (g_TO @ b_Or).mul_(ctx.scaling)
        x_grad: torch.Tensor | None = None
        if ctx.needs_input_grad[0]:
            x_grad = (g_TO @ weight_IO.t()).addmm_(u_Tr, a_rI).view(*grads[0].shape[:-1], -1)
        b_grad_Or = (t_Tr.t() @ g_TO).mul_(ctx.scaling).t()
        return x_grad, None, None, (u_Tr.t() @ x_TI)[: ctx.rank], b_grad_Or[:, : ctx.rank], None


def adapted(
    x: torch.Tensor,
    *,
    weight_IO: torch.Tensor,
    bias_O: torch.Tensor | None,
    a_rI: torch.Tensor,
    b_Or: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """`plain_adapted`; weight and bias are frozen."""
    y: torch.Tensor = _Adapted.apply(x, weight_IO, bias_O, a_rI, b_Or, scaling)
    return y


def plain_adapted(
    x: torch.Tensor,
    *,
    weight_IO: torch.Tensor,
    bias_O: torch.Tensor | None,
    a_rI: torch.Tensor,
    b_Or: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """As peft writes it."""
    y = x @ weight_IO if bias_O is None else x @ weight_IO + bias_O
    return y + (x @ a_rI.t()) @ b_Or.t() * scaling


def _lora_forward(module: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    name = plain_adapter(module)
    base = module.base_layer
    if name is None or args or kwargs or not isinstance(module.lora_dropout[name], nn.Identity):
        own: torch.Tensor = type(module).forward(module, x, *args, **kwargs)
        return own
    return adapted(
        x,
        weight_IO=base.weight if isinstance(base, Conv1D) else base.weight.t(),
        bias_O=base.bias,
        a_rI=module.lora_A[name].weight,
        b_Or=module.lora_B[name].weight,
        scaling=module.scaling[name],
    )


def plain_adapter(module: Any) -> str | None:
    """The one plain adapter that acts; None where there is another arrangement."""
    base = module.base_layer
    names = module.active_adapters
    is_plain = (
        type(base) in (nn.Linear, Conv1D)
        and not module.disable_adapters
        and not module.merged
        and len(names) == 1
        and names[0] in module.lora_A
        and not getattr(module, "lora_variant", {})
        and not base.weight.requires_grad
        and module.lora_A[names[0]].weight.dtype == base.weight.dtype
        and module.lora_B[names[0]].bias is None
    )
    return names[0] if is_plain else None


def _fast_lora(module: nn.Module) -> Forward | None:
    return _lora_forward if type(module) is LoraLinear and plain_adapter(module) is not None else None


def _lora_inputs(module: Any, generator: torch.Generator) -> Inputs:
    return (torch.randn(1, 5, module.in_features, generator=generator),), {}


LORA = Kernel(
    "LoRA's thin products",
    cannot=why_not_at_half_precision,
    fast=_fast_lora,
    inputs=_lora_inputs,
    when=in_half_training,
)


def bias_last(module: Conv1D, x: torch.Tensor) -> torch.Tensor:
    """transformers' Conv1D, which GPT-2 is made of: y = x W + b, W [inputs, outputs]."""
    return (x @ module.weight).add_(module.bias)


def _fast_bias(module: nn.Module) -> Forward | None:
    return bias_last if isinstance(module, Conv1D) else None


def _bias_inputs(module: nn.Module, generator: torch.Generator) -> Inputs:
    assert isinstance(module, Conv1D)
    return (torch.randn(1, 5, module.weight.shape[0], generator=generator),), {}


CONV1D_BIAS = Kernel(
    "Conv1D's bias last", cannot=why_not_on_cpu, fast=_fast_bias, inputs=_bias_inputs, when=in_cpu_training
)
