"""Read the clock wherever one decoder layer hands over to the next, forward and backward.

A layer's backward pass lies between the moments at which the gradients of its output and of its input are whole:
autograd runs the nodes that were made last first, so that all of a layer's work is done before an earlier one's
begins. A layer that is computed again in the backward pass is so within the same two moments. On a CPU only, where
a call returns when its work is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from finetrial.models.kernels.float32_copy import NoFloat32Copy, decoder_layers


@dataclass(slots=True)
class _Pass:
    """One forward pass and the backward pass behind it: moments by the layer's place, in seconds."""

    entered: list[float | None]
    left: list[float | None]
    left_backward: list[float | None]  # when the output's gradient was whole

    def layer_seconds(self) -> float | None:
        """The mean of the layers but the first, whose input's gradient need not be asked for; None where some
        moment is missing."""
        found = []
        for place in range(1, len(self.entered)):
            entered, left = self.entered[place], self.left[place]
            if entered is None or left is None:
                return None
            seconds = left - entered
            above, below = self.left_backward[place], self.left_backward[place - 1]
            if above is not None and below is not None:
                seconds += below - above
            found.append(seconds)
        return sum(found) / len(found)


class LayerClock:
    """Hears of a model's layers while it is entered as a context."""

    def __init__(self, layers: nn.ModuleList) -> None:
        self._layers, self._hooks = layers, list[Any]()
        self._passes: list[_Pass] = []

    @classmethod
    def of(cls, model: PreTrainedModel) -> LayerClock | None:
        """None for a model whose layers are not one list, or a single one."""
        try:
            layers = decoder_layers(model)[2]
        except NoFloat32Copy:
            return None
        return cls(layers) if len(layers) > 1 else None

    def __enter__(self) -> LayerClock:
        for place, layer in enumerate(self._layers):
            self._hooks.append(layer.register_forward_pre_hook(self._entering(place)))
            self._hooks.append(layer.register_forward_hook(self._leaving(place)))
        return self

    def __exit__(self, *failure: object) -> None:
        while self._hooks:
            self._hooks.pop().remove()

    def _entering(self, place: int) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: object) -> None:
            if self._passes[-1].entered[place] is None:
                self._passes[-1].entered[place] = time.perf_counter()

        return hook

    def _leaving(self, place: int) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: object, output: Any) -> None:
            now, one = time.perf_counter(), self._passes[-1]
            if one.left[place] is not None:  # computed again in the backward pass
                return
            one.left[place] = now
            hidden = output if isinstance(output, torch.Tensor) else output[0]
            if hidden.requires_grad:

                def whole(gradient: torch.Tensor) -> None:
                    one.left_backward[place] = time.perf_counter()

                hidden.register_hook(whole)

        return hook

    def begin_pass(self) -> None:
        """What is heard of next belongs to a new forward pass."""
        empty: list[float | None] = [None] * len(self._layers)
        self._passes.append(_Pass(empty.copy(), empty.copy(), empty.copy()))

    def forget(self) -> None:
        self._passes.clear()

    def layer_seconds(self) -> float | None:
        """Of one layer, in all passes that were heard of since all were forgotten."""
        found = [one.layer_seconds() for one in self._passes]
        if not found or any(seconds is None for seconds in found):
            return None
        return sum(seconds for seconds in found if seconds is not None)
