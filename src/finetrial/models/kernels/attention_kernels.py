"""Choose how a packed row attends on a device, by trying: against a float32 reference, values and gradients.

On an accelerator it is one kernel for all examples (varlen, document) or a few padded batches, never a call for
each length. A kernel is taken where its error is at most 1.5 times that of torch's own attention at the same
precision; what is left out says why.

Shapes: T tokens of the row, H heads, K key-value heads, D head size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from finetrial.models.kernels.accelerator import AttentionName, DeviceCapabilities, attention_order
from finetrial.models.kernels.document_attention import document_attention
from finetrial.models.kernels.padded_attention import padded_attention
from finetrial.models.kernels.rows_layout import RowLayout, layout_of
from finetrial.models.kernels.varlen_attention import varlen_attention
from finetrial.store.records import FastPath

_TRIED = ((1, 160), (2, 96), (1, 33), (1, 1))  # the row that kernels are tried on
_WORSE = 1.5  # a kernel's error over the plain path's: issue 13's bound
_SMALLEST = {torch.float32: 1e-6}  # an error that is rounding whatever the plain path's: float32's own
TITLE = "attention by blocks"

Run = Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """One way for a packed row to attend."""

    name: AttentionName
    title: str
    run: Run  # (query_THD, key_TKD, value_TKD, *, layout, scaling, window) -> out_THD


PADDED = AttentionKernel("padded", "padded batches of like lengths", padded_attention)
KERNELS: dict[AttentionName, AttentionKernel] = {
    "varlen": AttentionKernel("varlen", "torch's varlen_attn", varlen_attention),
    # where the function does not take fewer key than query heads by itself (before 2.12 it says nothing of them)
    "varlen_repeated": AttentionKernel(
        "varlen_repeated",
        "torch's varlen_attn, key heads repeated",
        functools.partial(varlen_attention, repeats=True),
    ),
    "document": AttentionKernel("document", "flex_attention under a document mask", document_attention),
    "padded": PADDED,
}


@dataclass(frozen=True, slots=True)
class HeadShape:
    """What attention of some layers looks like."""

    heads: int
    key_heads: int
    size: int
    window: int | None = None


class ShapeRecorder:
    """Padded attention that notes which shapes a model's layers ask for."""

    def __init__(self) -> None:
        self.shapes: dict[HeadShape, None] = {}

    def run(
        self,
        query_THD: torch.Tensor,
        key_TKD: torch.Tensor,
        value_TKD: torch.Tensor,
        *,
        layout: RowLayout,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        """See padded_attention."""
        shape = HeadShape(query_THD.shape[1], key_TKD.shape[1], query_THD.shape[2], window)
        self.shapes[shape] = None
        return padded_attention(query_THD, key_TKD, value_TKD, layout=layout, scaling=scaling, window=window)


def kernel_error(
    run: Run,
    *,
    shape: HeadShape,
    dtype: torch.dtype,
    device: torch.device,
    runs: Sequence[tuple[int, int]] = _TRIED,
) -> float:
    """The largest relative error, in norm, of output and gradients against padded attention at float32."""
    generator = torch.Generator().manual_seed(0)
    tokens = sum(count * length for count, length in runs)
    sizes = (shape.heads, shape.key_heads, shape.key_heads, shape.heads)
    states = [torch.randn(tokens, n, shape.size, generator=generator).to(device, dtype) for n in sizes]

    def results(by: Run, precision: torch.dtype) -> list[torch.Tensor]:
        *given, upstream = (x.to(precision) for x in states)
        given = [x.requires_grad_() for x in given]
        layout = layout_of(tuple(runs), kernel=None, device=device)
        with torch.enable_grad():
            out = by(*given, layout=layout, scaling=shape.size**-0.5, window=shape.window)
            return [out.detach(), *torch.autograd.grad(out, given, upstream)]

    exact = results(padded_attention, torch.float32)
    found = results(run, dtype)
    errors = [(f.float() - e).norm() / e.norm() for f, e in zip(found, exact, strict=True)]
    return float(torch.stack(errors).max())


def try_kernel(
    kernel: AttentionKernel, *, shape: HeadShape, dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why a kernel is not used for such heads here; None: it may be."""
    try:
        found = kernel_error(kernel.run, shape=shape, dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler's, a driver's, a missing operation's
        return f"{type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}"[:160]
    plain = max(kernel_error(padded_attention, shape=shape, dtype=dtype, device=device), _SMALLEST.get(dtype, 0.0))
    if not found <= _WORSE * plain:
        return f"its error against float32 is {found:.2g}, torch's own {plain:.2g}"
    return None


@functools.cache
def choose_attention(
    card: DeviceCapabilities, *, shapes: tuple[HeadShape, ...], dtype: torch.dtype, device: torch.device
) -> tuple[AttentionKernel, FastPath]:
    """The first kernel in order that passes for all shapes, and what became of the others. Not for a CPU."""
    left_out: list[str] = []
    for name, reasons in attention_order(card, dtype=dtype, head_sizes=tuple(s.size for s in shapes)):
        kernel = KERNELS[name]
        tried = (
            try_kernel(kernel, shape=shape, dtype=dtype, device=device) for shape in shapes if kernel is not PADDED
        )
        reason = reasons or next((why for why in tried if why is not None), None)
        if reason is None:
            return kernel, FastPath(TITLE, on=True, reason="; ".join([kernel.title, *left_out]))
        left_out.append(f"{kernel.title} not: {reason}")
    raise AssertionError("padded batches always run")
