"""How does a GPU give the same bits twice? A CPU does anyway."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from finetrial.errors import UserError


@contextlib.contextmanager
def deterministic_kernels(*, wanted: bool) -> Iterator[None]:
    """Within, torch takes deterministic kernels only; what has none is refused.

    Does nothing unless `wanted`, nor without a CUDA device: a CPU repeats itself, and torch's mode slows it down.
    """
    if not wanted or not torch.cuda.is_available():
        yield
        return
    # cuBLAS reads it when its first handle is made: torch.use_deterministic_algorithms' documentation
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    fill = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # finds reads of unset memory; costs time
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise UserError(
            "a part of this model has no deterministic form on this device",
            got=str(error).splitlines()[0][:200],
            fix="Leave --deterministic out.",
        ) from None
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = fill
