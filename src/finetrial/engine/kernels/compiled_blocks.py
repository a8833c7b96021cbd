"""Compile a model's decoder layers, so that what stands between its matrix products is a few fused operations.

One layer is compiled and serves all: they share their code, and the row's length, its number of examples and the
longest of them are left open, so that nothing is compiled anew from step to step. Names, weights and what is saved
stay as they are; `uncompile` brings the model's own code back.

Shapes: T tokens of a row, C width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from finetrial.engine.kernels.wide import NoWideCopy, decoder_layers

# Graphs of one layer that may exist side by side: with and without gradients, for the first layer and the others,
# for layers with a window and without, before a limit of dynamo's own (8) sends them back to plain code.
_GRAPHS = 32


def compile_blocks(model: PreTrainedModel) -> int:
    """Compile the layers when they first run; returns how many, 0 where they are not found."""
    try:
        layers = decoder_layers(model)[2]
    except (NoWideCopy, AttributeError):
        return 0
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)
    for layer in layers:
        layer.compile(dynamic=True)
    return len(layers)


def uncompile(model: nn.Module) -> None:
    """Bring every module's own code back."""
    for module in model.modules():
        if module._compiled_call_impl is not None:
            module._compiled_call_impl = None


def hidden_states_with_gradients(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    """A hook on a frozen embedding: the first layer is then the same graph as all others."""
    return output.requires_grad_() if torch.is_grad_enabled() and not output.requires_grad else output
