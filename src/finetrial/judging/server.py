"""Serve the grading page: to this machine alone, or with a password to the network, and say under which addresses.

Bound to 127.0.0.1 unless told otherwise, with random keys in every address.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from finetrial.errors import UserError
from finetrial.judging.access_control import AccessControl, Password
from finetrial.judging.grading_session import GradingSession, Mode
from finetrial.judging.routes import Pages
from finetrial.store.layout import TrialFolder

DEFAULT_PORT = 8757
_EVERYWHERE = ("0.0.0.0", "::")
# Addresses that the RFCs 5737 and 3849 keep for documentation: connecting a UDP socket sends nothing, and tells
# which of this machine's addresses the network would see.
_OUTSIDE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def build_app(
    session: GradingSession,
    *,
    token: str,
    hosts: frozenset[str] | None,
    password: str | None = None,
    mode: Mode = "single",
    folder: str = "",
) -> ASGIApp:
    """The application. `hosts` are the Host headers it answers to; None, with a password, answers to any."""
    assert hosts is not None or password is not None, "an open door needs a password"
    pages = Pages(session, token=token, mode=mode, folder=folder)
    door = None
    if password is not None:
        # A cookie that stands for the password; another password, or another trial, makes another cookie.
        key = session.book.key_for("door").encode()
        door = Password(password, pass_value=hmac.new(key, password.encode(), hashlib.sha256).hexdigest())
    return AccessControl(Starlette(routes=pages.routes()), hosts=hosts, password=door)


def bind(host: str, *, port: int | None) -> socket.socket:
    """A listening socket on `port`, or on the usual one, or on any free one when that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port,) if port is not None else (DEFAULT_PORT, 0):
        # Naming the protocol matters: asyncio turns Nagle's delay (40 ms an answer) off for TCP sockets only.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            if port is not None or candidate == 0:
                fix = "Give another --port." if not isinstance(error, socket.gaierror) else "Give another --host."
                raise UserError(f"cannot listen on {host}:{candidate}", got=error.strerror, fix=fix) from None
            continue
        listener.listen(128)
        return listener
    raise AssertionError("the loop returns or raises")


def is_loopback(host: str) -> bool:
    """True where the host names this machine alone."""
    return host in ("127.0.0.1", "localhost", "::1")


def network_addresses(host: str) -> tuple[str, ...]:
    """Under which of this machine's addresses others reach a page that is bound to `host`; none where none can."""
    if is_loopback(host):
        return ()
    if host not in _EVERYWHERE:
        return (host,)
    found = []
    for family, outside in _OUTSIDE:
        if family == socket.AF_INET6 and host != "::":
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((outside, 9))
                found.append(probe.getsockname()[0])
            except OSError:
                continue  # no way out by this family
    return tuple(address for address in dict.fromkeys(found) if not is_loopback(address))


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page can be opened."""

    url: str  # on this machine: the shared address, or the link of the one rater who was named
    port: int
    others: tuple[str, ...]  # the shared address as other machines reach it; empty: none can
    raters: Mapping[str, str]  # the own links of those who were named, as others reach them where they can
    progress: str  # the owner's view


def _url(host: str, *, port: int, path: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/{path}/"


def address_of(session: GradingSession, *, host: str, port: int, raters: tuple[str, ...] = ()) -> Address:
    """The page's addresses, secrets included. Named raters join here."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    outside = network_addresses(host)
    shared = f"t/{session.book.token()}"
    links = {
        rater.name: f"r/{session.book.key_for('rater', rater.name)}"
        for rater in (session.book.join(name) for name in raters)
    }
    first = next(iter(links.values())) if len(links) == 1 else shared
    reached = outside[0] if outside else here
    return Address(
        url=_url(here, port=port, path=first),
        port=port,
        others=tuple(_url(name, port=port, path=shared) for name in outside),
        raters={name: _url(reached, port=port, path=path) for name, path in links.items()},
        progress=_url(here, port=port, path=f"o/{session.book.key_for('owner')}"),
    )


def _stop(server: uvicorn.Server, *, until: threading.Event) -> None:
    until.wait()
    server.should_exit = True


def serve(
    folder: TrialFolder,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    mode: Mode = "single",
    raters: tuple[str, ...] = (),
    on_ready: Callable[[Address], None],
    until: threading.Event | None = None,
) -> None:
    """Serve the page until interrupted, or until the event; `on_ready` is called once it can be opened."""
    if not is_loopback(host) and not password:
        raise UserError(
            "a page that other machines can reach needs a password",
            fix="Give --password (or the variable FINETRIAL_GRADE_PASSWORD), or leave out --host.",
        )
    session = GradingSession(folder)
    try:
        if mode == "pairs" and not session.pairs:
            raise UserError("this trial has no pairs to compare", fix="Pairs need two arms on one prompt.")
        listener = bind(host, port=port)
        address = address_of(session, host=host, port=listener.getsockname()[1], raters=raters)
        names = ("127.0.0.1", "localhost", "[::1]")
        hosts = frozenset(f"{name}:{address.port}" for name in names) if is_loopback(host) else None
        app = build_app(
            session, token=session.book.token(), hosts=hosts, password=password, mode=mode, folder=str(folder.root)
        )
        # no logging set-up of uvicorn's: it closes the process's handlers, and absl's their streams
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="error",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        on_ready(address)
        server = uvicorn.Server(config)
        if until is not None:
            threading.Thread(target=_stop, args=(server,), kwargs={"until": until}, daemon=True).start()
        server.run(sockets=[listener])
    finally:
        session.close()
