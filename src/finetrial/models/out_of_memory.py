"""Halve the micro-batch when memory runs out; the effective batch and the arithmetic stay.

CUDA says so with an error of its own, a CPU's allocator in words. Where the system overcommits, as Linux does, a
process on a CPU is killed instead, and nothing here can help; a smaller `--set data.max_tokens` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from finetrial.errors import UserError

T = TypeVar("T")


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def halving(work: Callable[[], T], *, micro_tokens: int, longest: int, on_halved: Callable[[int], None]) -> T:
    """What `work` gives, its micro-batch halved until it fits, down to the longest example; both count tokens.

    `on_halved` sets the next micro-batch before it is tried. Raises UserError where the longest example alone does
    not fit.
    """
    while True:
        try:
            return work()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if micro_tokens <= longest:
                raise _does_not_fit(error, what="even one example at a time") from None
        micro_tokens = max(longest, micro_tokens // 2)
        on_halved(micro_tokens)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Memory that runs out where no smaller micro-batch helps (weights, moments) is the arm's failure, not ours."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise _does_not_fit(error, what="with its weights, gradients and moments") from None


def _does_not_fit(error: Exception, *, what: str) -> UserError:
    return UserError(
        f"this arm does not fit into memory {what}",
        got=str(error).splitlines()[0][:200],
        fix="`finetrial plan` lists what would fit: shorter data.max_tokens, recomputation, lora, a smaller model.",
    )


def raises_when_full(device: torch.device) -> bool:
    """Whether running out of this device's memory is an error that can be caught, so that trying first pays."""
    return device.type == "cuda"
