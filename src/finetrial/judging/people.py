"""Let people judge: the grading page, served until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetrial.errors import MissingPackage
from finetrial.judging.grading_session import Mode
from finetrial.store.layout import TrialFolder

if TYPE_CHECKING:
    from finetrial.judging.server import Address


def _print_address(address: Address) -> None:
    print(f"Grade here: {address.url}", flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """People in front of a browser. Each declares before the first grade whether they are one, or a stand-in."""

    name: str = "people"
    mode: Mode = "single"
    raters: tuple[str, ...] = ()  # who get a link of their own; the page asks for names otherwise
    host: str = "127.0.0.1"
    port: int | None = None  # None: the usual one, or any that is free
    password: str | None = None
    on_ready: Callable[[Address], None] = _print_address

    def judge(self, folder: TrialFolder) -> None:
        """Serve the page until interrupted. Raises MissingPackage without the extra `grade`."""
        try:
            from finetrial.judging.server import serve
        except ImportError as error:
            raise MissingPackage(error.name or "starlette", extra="grade", purpose="the grading page") from None
        serve(
            folder,
            host=self.host,
            port=self.port,
            password=self.password,
            mode=self.mode,
            raters=self.raters,
            on_ready=self.on_ready,
        )


PEOPLE = People()
