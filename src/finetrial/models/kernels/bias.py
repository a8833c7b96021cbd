"""A bias that is added last, in training at bfloat16 on a CPU, where torch's fused form is slower than two steps.

torch writes the bias into the whole output first and lets the matrix product add to it, which costs more than
adding it afterwards (docs/decisions.md has the times). The price is one more rounding of the output; in evaluation
and sampling torch's own form stays. Linear gains too little (3 % at most) and stays, too.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from finetrial.models.kernels.place import Forward, Inputs, Kernel
from finetrial.models.kernels.where import in_cpu_training, no_cpu_training


def bias_last(module: Conv1D, x: torch.Tensor) -> torch.Tensor:
    """transformers' Conv1D, which GPT-2 is made of: y = x W + b, W [inputs, outputs]."""
    return (x @ module.weight).add_(module.bias)


def _fast(module: nn.Module) -> Forward | None:
    return bias_last if isinstance(module, Conv1D) else None


def _inputs(module: nn.Module, generator: torch.Generator) -> Inputs:
    assert isinstance(module, Conv1D)
    return (torch.randn(1, 5, module.weight.shape[0], generator=generator),), {}


CONV1D_BIAS = Kernel("Conv1D's bias last", cannot=no_cpu_training, fast=_fast, inputs=_inputs, when=in_cpu_training)
