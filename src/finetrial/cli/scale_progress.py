"""Show how far a long calculation is: a bar on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from finetrial.cli.output import log


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function of (done, total)."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    quarters = 0

    def in_lines(done: int, total: int) -> None:
        nonlocal quarters
        if 4 * done // total > quarters:
            quarters = 4 * done // total
            log(f"{label}: {done} of {total}")

    yield in_lines
