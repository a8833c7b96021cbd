"""How is a bias added in training at bfloat16 on a CPU, where torch's fused form is slower than two steps?

torch writes the bias into the whole output first and lets the matrix product add to it, which costs more than
adding it afterwards (docs/decisions.md has the times). The price is one more rounding of the output; in evaluation
and sampling torch's own form stays.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D


class BiasLastConv1D(Conv1D):
    """transformers' Conv1D, which GPT-2 is made of: y = x W + b, W [inputs, outputs]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and x.dtype == torch.bfloat16 and x.device.type == "cpu":
            return (x @ self.weight).add_(self.bias)
        return super().forward(x)


def add_biases_last(model: nn.Module) -> None:
    """Make every Conv1D do so. Weights, names and what is saved stay. Linear gains too little (3 % at most)."""
    for module in model.modules():
        if type(module) is Conv1D:
            module.__class__ = BiasLastConv1D
