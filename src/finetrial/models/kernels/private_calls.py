"""Call what torch and transformers have under private names alone, each beside the public way that equals it.

No other module may use a private name of a library; `tests/test_house.py` reads them all. Where a version has the
name no longer, the public way is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

# What sees every operation of torch, and the operation that reads a number out of a tensor. Nothing public does.
DispatchMode = TorchDispatchMode
READ_NUMBER: Any = torch.ops.aten._local_scalar_dense.default


def fake_tensors() -> FakeTensorMode:
    """Within, tensors are made without data; real ones that come in are taken for their shapes."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor of nested tuples, lists and mappings."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


_SOFTMAX_BACKWARD: Callable[..., torch.Tensor] | None = getattr(torch, "_softmax_backward_data", None)
_FOREACH_MUL: Callable[..., Any] | None = getattr(torch, "_foreach_mul_", None)
_FOREACH_COPY: Callable[..., Any] | None = getattr(torch, "_foreach_copy_", None)


MemoryKey = tuple[int, int]


def memory_key(tensor: torch.Tensor) -> MemoryKey:
    """Where a tensor begins: its storage and its place in it. Unlike an address, tensors without data have one."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset())


def softmax_gradient(grad: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """The gradient in a softmax's inputs over the last dimension, of the gradient in its probabilities."""
    if _SOFTMAX_BACKWARD is None:
        return plain_softmax_gradient(grad, probabilities)
    return _SOFTMAX_BACKWARD(grad, probabilities, -1, probabilities.dtype)


def plain_softmax_gradient(grad: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    """p (g - sum(p g)), in float32 inside."""
    wide, p = grad.float(), probabilities.float()
    return (p * (wide - (p * wide).sum(dim=-1, keepdim=True))).to(probabilities.dtype)


def multiply_each(tensors: Sequence[torch.Tensor], factor: float | torch.Tensor) -> None:
    """Multiply every tensor by the factor, in place and in few kernels."""
    if _FOREACH_MUL is None:
        plain_multiply_each(tensors, factor)
    else:
        _FOREACH_MUL(tensors, factor)


def plain_multiply_each(tensors: Sequence[torch.Tensor], factor: float | torch.Tensor) -> None:
    """The same, one tensor after another."""
    for tensor in tensors:
        tensor.mul_(factor)


def copy_each(places: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """Copy every value to its place, cast to the place's precision, in few kernels."""
    if _FOREACH_COPY is None:
        plain_copy_each(places, values)
    else:
        _FOREACH_COPY(places, values)


def plain_copy_each(places: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    """The same, one tensor after another."""
    for place, value in zip(places, values, strict=True):
        place.copy_(value)


def attention_of(model: PreTrainedModel) -> str | None:
    """The name of the attention that the model computes with; None where this version of transformers hides it."""
    name: str | None = getattr(model.config, "_attn_implementation", None)
    return name


def give_attention(model: PreTrainedModel, name: str | None) -> None:
    """Let the model compute with the attention that `attention_of` named; nothing where it does, or for None."""
    if name is not None and attention_of(model) != name:
        model.set_attn_implementation(name)
