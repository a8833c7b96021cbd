"""Results that are cheaper to recompute again in the backward pass than to keep until then.

A norm's output and a gate's are kept for the gradients of the matrices they enter, and are a third of what a layer
keeps. Inside `recomputing`, whatever would keep such a result keeps how to recompute it: the same operations
on the same tensors, hence the same bits. A result is known by its memory, and only while it is alive: with it goes
how it is made, which holds what it is made of.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import torch

from finetrial.models.kernels.private_calls import MemoryKey, memory_key

Recompute = Callable[[], torch.Tensor]


class _Recipe:
    """How one result is made."""

    def __init__(self, result: torch.Tensor, recompute: Recompute, book: _Book) -> None:
        self.result = weakref.ref(result, partial(book.forget, memory_key(result)))
        self.recompute, self.book = recompute, book

    def fits(self, tensor: torch.Tensor) -> bool:
        result = self.result()
        return (
            result is not None
            and memory_key(tensor) == memory_key(result)
            and tensor.numel() == result.numel()
            and tensor.dtype == result.dtype
            and tensor.is_contiguous()
        )

    def made(self) -> torch.Tensor:
        if self.book.last is None or self.book.last[0] is not self:  # several matrices read one result in turn
            self.book.last = None
            self.book.last = (self, self.recompute())
        return self.book.last[1]


class _Book:
    """The recipes of one forward pass, by the address of what they recompute."""

    def __init__(self) -> None:
        self.recipes: dict[MemoryKey, _Recipe] = {}
        self.last: tuple[_Recipe, torch.Tensor] | None = None

    def pack(self, tensor: torch.Tensor) -> torch.Tensor | tuple[_Recipe, torch.Size]:
        recipe = self.recipes.get(memory_key(tensor))
        return (recipe, tensor.shape) if recipe is not None and recipe.fits(tensor) else tensor

    def forget(self, key: MemoryKey, result: weakref.ref[torch.Tensor]) -> None:
        """Drop the recipe of a result that is gone, unless another result stands in its memory by now."""
        recipe = self.recipes.get(key)
        if recipe is not None and recipe.result is result:
            del self.recipes[key]

    @staticmethod
    def unpack(kept: torch.Tensor | tuple[_Recipe, torch.Size]) -> torch.Tensor:
        return kept if isinstance(kept, torch.Tensor) else kept[0].made().view(kept[1])


_open: list[_Book] = []  # the forward passes that are under way; innermost last


def recomputable(result: torch.Tensor, recompute: Recompute) -> torch.Tensor:
    """The result, known from now on by how it is made, where a forward pass asks for that."""
    if _open:
        book = _open[-1]
        book.recipes[memory_key(result)] = _Recipe(result, recompute, book)
    return result


def overwritten(result: torch.Tensor) -> None:
    """Forget how a result is made: its memory is about to hold something else."""
    for book in _open:
        book.recipes.pop(memory_key(result), None)


@contextlib.contextmanager
def recomputing() -> Iterator[None]:
    """During a forward pass: what can be made again is not kept for its backward pass."""
    book = _Book()
    _open.append(book)
    try:
        with torch.autograd.graph.saved_tensors_hooks(book.pack, book.unpack):
            yield
    finally:
        _open.pop()
        book.recipes.clear()
