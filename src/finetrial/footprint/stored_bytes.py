"""The bytes that copies of a tuned model take, and the rank that fits a budget.

What is stored for a task is what was trained for it: the whole model, the matrices that were tuned, or the
adapters. The last two stand on one copy of the base, which all tasks share.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetrial.errors import AnswerIsNo, UserError, unknown_name
from finetrial.footprint.adapters import lora_parameters
from finetrial.footprint.structure import Shape
from finetrial.footprint.targets import resolve_targets

# Names as torch and safetensors spell them, and their usual short forms.
BYTES_PER_PARAM = {"float32": 4, "bfloat16": 2, "float16": 2, "float8": 1, "int8": 1}
DTYPE_ALIASES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}


def bytes_per_param(dtype: str) -> int:
    """Bytes of one parameter stored as `dtype`. Raises UserError naming the types that exist."""
    name = DTYPE_ALIASES.get(dtype.lower(), dtype.lower())
    if name not in BYTES_PER_PARAM:
        raise unknown_name("dtype", dtype, (*BYTES_PER_PARAM, *DTYPE_ALIASES))
    return BYTES_PER_PARAM[name]


@dataclass(frozen=True, kw_only=True)
class Storage:
    params_stored: int  # of one copy
    bytes_per_param: int
    bytes_per_copy: int
    copies: int
    bytes_total: int


def storage(params_stored: float, *, dtype: str = "bfloat16", copies: int = 1) -> Storage:
    """Bytes of `copies` copies of `params_stored` parameters each."""
    if copies < 1:
        raise UserError("invalid number of copies", got=copies, expected="a whole number above zero")
    size = bytes_per_param(dtype)
    bytes_per_copy = round(params_stored * size)
    return Storage(
        params_stored=round(params_stored),
        bytes_per_param=size,
        bytes_per_copy=bytes_per_copy,
        copies=copies,
        bytes_total=bytes_per_copy * copies,
    )


@dataclass(frozen=True, kw_only=True)
class RankAnswer:
    rank: int
    params_stored: int
    bytes_per_copy: int
    budget_bytes: int
    params_per_rank: int
    capped: bool  # the budget holds more, but beyond the matrices' smaller side a rank adds nothing
    matrix_bytes: int  # what the targets' matrices themselves would weigh
    next_rank_bytes: int | None  # of the rank above; None where that rank would add nothing

    @property
    def next_rank_excess(self) -> float | None:
        """By which share of the budget the rank above misses it."""
        return None if self.next_rank_bytes is None else self.next_rank_bytes / self.budget_bytes - 1


def largest_rank(
    shape: Shape,
    *,
    targets: Iterable[str],
    budget_bytes: int,
    dtype: str = "bfloat16",
    layers: Sequence[int] | None = None,
) -> RankAnswer:
    """The largest LoRA rank whose adapters fit `budget_bytes`.

    A product B A has at most the rank of its smaller side, so no larger rank is named. Raises AnswerIsNo when not
    even rank 1 fits.
    """
    targets = tuple(targets)
    size = bytes_per_param(dtype)
    per_rank = lora_parameters(shape, rank=1, targets=targets, layers=layers).total
    resolved = resolve_targets(shape, targets=targets, layers=layers)
    useful = max(min(target.inputs, target.outputs) for target in resolved)
    fits = budget_bytes // (per_rank * size)
    if fits < 1:
        raise AnswerIsNo(
            f"no rank fits: rank 1 on {', '.join(targets)} of {shape.name} takes {per_rank * size} bytes",
            got=f"a budget of {budget_bytes} bytes",
            fix="Name fewer targets or a smaller dtype.",
        )
    rank = min(fits, useful)
    return RankAnswer(
        rank=rank,
        params_stored=rank * per_rank,
        bytes_per_copy=rank * per_rank * size,
        budget_bytes=budget_bytes,
        params_per_rank=per_rank,
        capped=fits > useful,
        next_rank_bytes=None if rank >= useful else (rank + 1) * per_rank * size,
        matrix_bytes=sum(t.inputs * t.outputs * t.matrices for t in resolved) * size,
    )
