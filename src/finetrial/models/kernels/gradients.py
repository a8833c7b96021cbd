"""Sum a half-precision parameter's gradient in float32, in its master's `grad`, over all micro-batches.

On a CPU the buffer is made once and stays, because fresh memory costs more than the sum itself: every page of it is
a fault. The two largest gradients of a small model, the embedding's and the head's, never exist as tensors of their
own: the head's is added slice by slice, the embedding's row by row, for the tokens that were read.

Shapes: V vocabulary, C width, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from finetrial.models.kernels.place import place
from finetrial.store.records import FastPath


class GradientSum:
    """The gradient of one parameter, summed into its master."""

    def __init__(self, master: torch.Tensor) -> None:
        assert master.dtype == torch.float32
        self._master = master
        self._buffer: torch.Tensor | None = None

    def _start(self) -> torch.Tensor:
        buffer = self._buffer
        if buffer is None:
            buffer = torch.empty_like(self._master, requires_grad=False)
        if buffer.device.type == "cpu":
            self._buffer = buffer
        self._master.grad = buffer
        return buffer

    def add(self, part: torch.Tensor) -> None:
        """A whole gradient, of any precision."""
        if self._master.grad is None:
            self._start().copy_(part)
        else:
            self._master.grad.add_(part)

    def add_slices(self, parts: Iterator[tuple[slice, torch.Tensor]]) -> None:
        """A whole gradient in slices of its first dimension, which must cover it."""
        grad = self._master.grad
        fresh = grad is None
        grad = self._start() if grad is None else grad
        for rows, part in parts:
            if fresh:
                grad[rows].copy_(part)
            else:
                grad[rows].add_(part)

    def add_rows(self, ids_T: torch.Tensor, part_TC: torch.Tensor) -> None:
        """Gradients of some rows; a row may come more than once."""
        grad = self._master.grad
        if grad is None:
            grad = self._start().zero_()
        grad.index_add_(0, ids_T, part_TC.float())


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight_VC: torch.Tensor, ids: torch.Tensor, total: GradientSum, module: nn.Embedding
    ) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.total, ctx.scale, ctx.padding = total, _scale_of(module), module.padding_idx
        read = F.embedding(ids, weight_VC)
        return read if ctx.scale is None else read * ctx.scale.to(read.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, ...]:
        ids_T, grad_TC = ctx.saved_tensors[0].flatten(), grads[0].flatten(0, -2)
        if ctx.scale is not None:
            grad_TC = grad_TC.float().mul_(ctx.scale.to(grad_TC.dtype))
        if ctx.padding is not None and bool((ids_T == ctx.padding).any()):  # its row is not trained
            grad_TC = grad_TC.masked_fill((ids_T == ctx.padding)[:, None], 0)
        ctx.total.add_rows(ids_T, grad_TC)
        return None, None, None, None


def _scale_of(module: nn.Embedding) -> torch.Tensor | None:
    """What Gemma multiplies its rows by."""
    scale = getattr(module, "embed_scale", None)
    return None if scale is None else torch.as_tensor(scale)


def sum_rows(embedding: nn.Module, total: GradientSum | None) -> FastPath:
    """Give an embedding's gradient to `total` from now on, where it does no more than read, and scale, rows."""
    name = "embedding's gradient by rows"
    if total is None:
        return FastPath(name, on=False, reason="the embedding has no float32 master: it is frozen, or float32")
    if not isinstance(embedding, nn.Embedding) or embedding.max_norm is not None or embedding.scale_grad_by_freq:
        return FastPath(name, on=False, reason=f"a {type(embedding).__name__} is no plain embedding")

    def summed(module: Any, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and module.weight.requires_grad:
            read: torch.Tensor = _Rows.apply(module.weight, input, total, module)
            return read
        own: torch.Tensor = type(module).forward(module, input)
        return own

    ids = torch.arange(min(16, embedding.num_embeddings), device=embedding.weight.device)
    with torch.no_grad():
        found = _Rows.apply(embedding.weight, ids, total, embedding)
        if not torch.equal(found, type(embedding).forward(embedding, ids)):
            return FastPath(name, on=False, reason=f"{type(embedding).__name__} does more than read rows")
    place(embedding, summed, name=name)
    return FastPath(name, on=True, reason="summed in float32, only for the tokens that were read")
