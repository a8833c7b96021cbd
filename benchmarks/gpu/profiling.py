"""Four lines about a step on a card: products, attention, element-wise work, idle."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import torch

from benchmarks.gpu.result import Shares

_PRODUCTS = re.compile(r"gemm|cutlass|nvjet|xmma|cublas|gemv|splitK|matmul|kgemm|dot_kernel", re.IGNORECASE)
_ATTENTION = re.compile(r"flash|fmha|attention|flex|sdpa|softmax_warp|mem_eff", re.IGNORECASE)


class StepProfile:
    """Records what the card does between `start` and `stop`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._profiler: Any = None

    def start(self) -> None:
        """Wait for the card, then record."""
        if self._device.type != "cuda":
            return
        torch.cuda.synchronize(self._device)
        self._profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
        self._profiler.start()

    def stop(self) -> None:
        if self._profiler is None:
            return
        torch.cuda.synchronize(self._device)
        self._profiler.stop()

    def spans(self) -> list[tuple[int, int, str]]:
        """Start and end, nanoseconds, and name of everything that ran on the card."""
        if self._profiler is None:
            return []
        events = self._profiler.profiler.kineto_results.events()
        cuda = torch.autograd.DeviceType.CUDA
        return sorted(
            (e.start_ns(), e.start_ns() + e.duration_ns(), e.name())
            for e in events
            if e.device_type() == cuda and e.duration_ns() > 0
        )


def kind_of(name: str) -> str:
    """products, attention or elementwise, by a kernel's name."""
    if _ATTENTION.search(name):
        return "attention"
    return "products" if _PRODUCTS.search(name) else "elementwise"


def short_name(name: str) -> str:
    """What tells a kernel from others of its template, without the compiler's nesting."""
    inner = re.findall(r"(\w+(?:Functor|_kernel|Ops?)\w*)", name)
    return ":".join(dict.fromkeys([re.sub(r"<.*", "", name).rsplit("::", 1)[-1][:50], *inner[:3]]))


def shares_of(spans: list[tuple[int, int, str]], *, steps: int) -> tuple[Shares | None, tuple[str, ...]]:
    """The shares of the time from the first kernel's start to the last one's end, and the slowest kernels."""
    if not spans:
        return None, ()
    busy: Counter[str] = Counter()
    names: Counter[str] = Counter()
    covered, end = 0, spans[0][0]
    for start, stop, name in spans:
        fresh = max(0, stop - max(start, end))
        covered += fresh
        end = max(end, stop)
        busy[kind_of(name)] += fresh
        names[short_name(name)] += stop - start
    whole = end - spans[0][0]
    slowest = tuple(f"{name} {time / whole:.1%}" for name, time in names.most_common(12))
    shares = Shares(
        products=busy["products"] / whole,
        attention=busy["attention"] / whole,
        elementwise=busy["elementwise"] / whole,
        idle=1 - covered / whole,
        launches=len(spans) / steps,
    )
    return shares, slowest
