"""Let compiled layers call the attention kernel as an operation that is not looked into.

A compiler that takes the kernel apart fails on it (torch 2.11); as an operation of its own it is only told which of
its arguments it writes to.

Shapes: see attend_kernel.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

_NAME = "finetrial::attend_slots"


@functools.cache
def opaque(run: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The kernel as such an operation, with the same arguments by keyword."""

    def operation(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        prompt_k: torch.Tensor,
        prompt_v: torch.Tensor,
        own_k: torch.Tensor,
        own_v: torch.Tensor,
        prompt_N: torch.Tensor,
        place_N: torch.Tensor,
        samples: int,
        scaling: float,
        window: int,
    ) -> torch.Tensor:
        return run(
            query,
            key,
            value,
            prompt_k=prompt_k,
            prompt_v=prompt_v,
            own_k=own_k,
            own_v=own_v,
            prompt_N=prompt_N,
            place_N=place_N,
            samples=samples,
            scaling=scaling,
            window=None if window < 0 else window,
        )

    # the annotations are read as objects
    operation.__annotations__ = {
        name: {"samples": int, "scaling": float, "window": int}.get(name, torch.Tensor)
        for name in operation.__annotations__
    }
    made = torch.library.custom_op(_NAME, operation, mutates_args=("own_k", "own_v"))

    def shape_of(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: object) -> torch.Tensor:
        return query.new_empty(query.shape[0], query.shape[1], value.shape[2])

    made.register_fake(shape_of)

    def call(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        prompt_k: torch.Tensor,
        prompt_v: torch.Tensor,
        own_k: torch.Tensor,
        own_v: torch.Tensor,
        prompt_N: torch.Tensor,
        place_N: torch.Tensor,
        samples: int,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        found: torch.Tensor = made(
            query,
            key,
            value,
            prompt_k,
            prompt_v,
            own_k,
            own_v,
            prompt_N,
            place_N,
            samples,
            scaling,
            -1 if window is None else window,
        )
        return found

    return call
