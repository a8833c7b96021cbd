"""Take decoding steps: one after another on a CPU, as CUDA graphs on a card.

A step of a small model is hundreds of kernels that take less time than starting them from Python does. A graph
starts them all at once. One is captured for each size of a step; what it reads and writes stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from finetrial.sampling.device_rows import DeviceRows, StepSize

_PRACTICE = 2  # steps before a capture, in which libraries choose their kernels and make their workspaces


class StepRunner:
    """Takes the steps of one arm's rows."""

    def __init__(self, rows: DeviceRows, *, graphs: bool | None = None) -> None:
        """`graphs`: None takes them on a CUDA device."""
        self.rows = rows
        self.graphs = rows.device.type == "cuda" if graphs is None else graphs
        self._captured: dict[StepSize, Callable[[], None]] = {}
        self._pool: Any = None
        self.why_not: str | None = None  # graphs could not be captured

    def step(self, size: StepSize, *, rows_N: torch.Tensor | None = None) -> None:
        """One step of all rows in use, or of these."""
        if not self.graphs or rows_N is not None:
            self.rows.step(size, rows_N=rows_N)
            return
        if size not in self._captured:
            try:
                self._captured[size] = self._capture(size)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an operation of this model asks something of the device
                self.graphs, self.why_not = False, str(error).splitlines()[0][:200]
                torch.cuda.synchronize()
                self.rows.step(size)
                return
        self._captured[size]()

    def _capture(self, size: StepSize) -> Callable[[], None]:
        rows = self.rows
        before = rows.snapshot()
        stream = torch.cuda.Stream(device=rows.device)
        stream.wait_stream(torch.cuda.current_stream(rows.device))
        with torch.cuda.stream(stream):
            for _ in range(_PRACTICE):
                rows.step(size)
        torch.cuda.current_stream(rows.device).wait_stream(stream)
        rows.restore(before)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                rows.step(size)
        finally:
            rows.restore(before)
        self._pool = self._pool or graph.pool()
        return graph.replay
