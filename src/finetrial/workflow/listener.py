"""Say what a run tells whoever watches it."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Who watches a run: lines for events, steps for progress."""

    def line(self, text: str) -> None: ...

    def step(
        self, label: str, *, done: float, total: float, detail: str = "", seconds_left: float | None = None
    ) -> None: ...

    def end(self) -> None: ...


class Silent:
    """Nobody watches."""

    def line(self, text: str) -> None:
        """Say nothing."""

    def step(
        self, label: str, *, done: float, total: float, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Show nothing."""

    def end(self) -> None:
        """End nothing."""
