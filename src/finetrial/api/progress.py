"""Show how far a long step is: a bar with the time left on a terminal, a widget in a notebook, lines elsewhere.

Outside notebooks everything goes to standard error; standard output belongs to the result.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from finetrial.api.calls import in_notebook
from finetrial.units import format_seconds
from finetrial.workflow.listener import Listener

_PLAIN_EVERY_SECONDS = 10.0
_BAR_AFTER_SECONDS = 2.0  # what is over sooner needs no bar


@contextlib.contextmanager
def watched(progress: bool | Listener) -> Iterator[Listener]:
    """The listener that `progress` asks for: one's own, or the one that suits the place, or a silent one."""
    listener: Listener
    if not isinstance(progress, bool):
        listener = progress
    elif progress and in_notebook():
        listener = NotebookProgress()
    else:
        listener = Progressing(quiet=not progress)
    try:
        yield listener
    finally:
        listener.end()


def _left(seconds_left: float | None, detail: str) -> str:
    left = "" if seconds_left is None else f"about {format_seconds(max(0.0, seconds_left))} left"
    return "  ".join(part for part in (left, detail) if part)


class NotebookProgress:
    """A listener in a notebook: lines as a cell's output, and one bar where ipywidgets is installed."""

    def __init__(self) -> None:
        self._label: str | None = None
        self._last = 0.0
        self._widget = _notebook_bar()

    def line(self, text: str) -> None:
        """Print one line below the cell."""
        print(text, flush=True)

    def step(
        self, label: str, *, done: float, total: float, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Move the bar; without one print a line, once in a while."""
        now = time.monotonic()
        if label != self._label:
            self._label, self._last = label, now
        text = _left(seconds_left, detail)
        if self._widget is not None:
            bar, beside = self._widget.children
            self._widget.layout.visibility = "visible"
            bar.max, bar.value, bar.description, beside.value = total, done, label, text
        elif now - self._last >= _PLAIN_EVERY_SECONDS:
            self._last = now
            print(f"{label}: {100 * done / total:.0f} %  {text}", flush=True)

    def end(self) -> None:
        """Take the bar away."""
        self._label = None
        if self._widget is not None:
            self._widget.layout.visibility = "hidden"


def _notebook_bar() -> Any:
    """A progress bar below the cell with a text beside it; None where ipywidgets is not installed."""
    try:
        import ipywidgets  # optional
        from IPython.display import display
    except ImportError:
        return None
    bar = ipywidgets.FloatProgress(value=0.0, max=1.0, style={"description_width": "initial"})
    widget = ipywidgets.HBox([bar, ipywidgets.Label()], layout={"visibility": "hidden"})
    display(widget)
    return widget


class Progressing:
    """A listener outside notebooks: `line` says something, `step` moves the current bar."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet = quiet
        self._live = self._console.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._label: str | None = None
        self._began = 0.0
        self._last_plain = 0.0

    def __enter__(self) -> Progressing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def line(self, text: str) -> None:
        """Say one line; a bar in progress stays below it."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def step(
        self, label: str, *, done: float, total: float, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Move the bar called `label`; a new label ends the bar before."""
        now = time.monotonic()
        if label != self._label:
            self.end()
            self._label, self._began, self._last_plain = label, now, now
        if self._quiet or now - self._began < _BAR_AFTER_SECONDS:
            return
        text = _left(seconds_left, detail)
        if self._live:
            if self._bar is None:
                columns = (
                    TextColumn("{task.description}", markup=False),
                    BarColumn(bar_width=20),
                    TextColumn("{task.percentage:>3.0f} %  {task.fields[text]}", markup=False),
                )
                self._bar = Progress(*columns, console=self._console, transient=True)
                self._bar.start()
                self._task = self._bar.add_task(label, total=total, text=text)
            assert self._task is not None
            self._bar.update(self._task, completed=done, total=total, text=text)
        elif now - self._last_plain >= _PLAIN_EVERY_SECONDS:
            self._last_plain = now
            print(f"{label}: {100 * done / total:.0f} %  {text}", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take the current bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = self._label = None
