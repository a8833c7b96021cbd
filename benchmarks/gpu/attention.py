"""One layer's attention of a packed row of abstracts, forward and backward, by every way there is."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.gpu.shapes import wait
from benchmarks.gpu.workload import random_abstracts
from finetrial.models.kernels.attention_kernels import KERNELS, HeadShape, kernel_error
from finetrial.models.kernels.block_products import BlockRuns
from finetrial.models.kernels.padded_attention import padded_attention
from finetrial.models.kernels.rows_layout import RowLayout, layout_of, lengths_of

_REPEATS = 10


@dataclass(frozen=True, slots=True)
class AttentionTime:
    """Milliseconds of a layer's attention, both passes."""

    title: str
    warm: float | None = None
    fresh: float | None = None  # a row of lengths that were not seen before
    error: float | None = None  # relative, against float32
    failed: str | None = None


def each_length(
    query: Any, key: Any, value: Any, *, layout: RowLayout, scaling: float, window: Any
) -> torch.Tensor:
    """A call of torch's attention for every length, as it must not be: here to be measured."""
    times = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(times, dim=1) for x in (key, value))
    outputs, start = [], 0
    for count, length in layout.runs:
        stop = start + count * length
        parts = (x[start:stop].unflatten(0, (count, length)).transpose(1, 2) for x in (query, key, value))
        out = F.scaled_dot_product_attention(*parts, is_causal=True, scale=scaling)
        outputs.append(out.transpose(1, 2).flatten(0, 1))
        start = stop
    return torch.cat(outputs)


def row_of_abstracts(count: int, *, seed: int) -> BlockRuns:
    """A packed row's runs."""
    lengths = sorted((len(e.token_ids) for e in random_abstracts(count, seed=seed)), reverse=True)
    return tuple((lengths.count(n), n) for n in dict.fromkeys(lengths))


def measure_attention(*, device: torch.device, shape: HeadShape, examples: int) -> list[dict[str, Any]]:
    """Every way on the same row, then on rows of other lengths."""
    dtype = torch.bfloat16
    ways = {"a call for each length": each_length} | {k.title: k.run for k in KERNELS.values()}
    if device.type == "cpu":
        ways = {t: r for t, r in ways.items() if "varlen" not in t}
    found = []
    for title, run in ways.items():
        try:
            found.append(asdict(_times(title, run, device=device, shape=shape, dtype=dtype, examples=examples)))
        except Exception as error:
            found.append(asdict(AttentionTime(title, failed=f"{type(error).__name__}: {str(error)[:120]}")))
    return found


def _times(
    title: str, run: Any, *, device: torch.device, shape: HeadShape, dtype: torch.dtype, examples: int
) -> AttentionTime:
    def once(runs: BlockRuns) -> float:
        tokens = sum(lengths_of(runs))
        generator = torch.Generator(device).manual_seed(0)
        sizes = (shape.heads, shape.key_heads, shape.key_heads, shape.heads)
        *given, upstream = (
            torch.randn(tokens, n, shape.size, generator=generator, device=device, dtype=dtype) for n in sizes
        )
        given = [x.requires_grad_() for x in given]
        layout = layout_of(runs, kernel=None, device=device)
        times = []
        for _ in range(_REPEATS if device.type == "cuda" else 2):
            wait(device)
            began = time.perf_counter()
            out = run(*given, layout=layout, scaling=shape.size**-0.5, window=None)
            torch.autograd.grad(out, given, upstream)
            wait(device)
            times.append(1000 * (time.perf_counter() - began))
        firsts.append(times[0])
        return statistics.median(times[1:])

    firsts: list[float] = []
    warm = once(row_of_abstracts(examples, seed=1))
    for seed in (2, 3):
        once(row_of_abstracts(examples, seed=seed))
    plain = run is each_length
    error = None if plain else kernel_error(run, shape=shape, dtype=dtype, device=device)
    return AttentionTime(title, warm=warm, fresh=firsts[-1], error=error)


def attention_table(found: list[dict[str, Any]], *, plain_error: float) -> str:
    """Milliseconds, forward and backward."""
    lines = ["| one layer, forward and backward | warm, ms | a new row, ms | error |", "|---|---:|---:|---:|"]
    for row in (AttentionTime(**one) for one in found):
        if row.failed:
            lines.append(f"| {row.title} | {row.failed} | | |")
        else:
            error = "" if row.error is None else f"{row.error:.2g}"
            lines.append(f"| {row.title} | {row.warm:.2f} | {row.fresh:.2f} | {error} |")
    lines += ["", f"Error: of output and gradients against float32; torch's own attention has {plain_error:.2g}."]
    return "\n".join(lines)


def plain_error(*, device: torch.device, shape: HeadShape) -> float:
    """The same of padded batches of torch's attention."""
    return kernel_error(padded_attention, shape=shape, dtype=torch.bfloat16, device=device)
