"""How does the grading page reach a browser on this machine, and nobody else?

Bound to 127.0.0.1, with a random token in the address; a request for another host, from another origin or without
the token is refused. Other hosts need a password. Handlers touch the database directly: each commit takes
milliseconds, and one after the other is what keeps order simple.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from finetrial.errors import FinetrialError, UserError
from finetrial.grading.database import GradesLocked, NotWritten
from finetrial.grading.desk import Desk, Mode, Plan
from finetrial.grading.page import STATIC, about, cell_states, page_html, plan_cells
from finetrial.store.layout import TrialFolder
from finetrial.store.records import as_object

DEFAULT_PORT = 8757
BODY_BYTES = 100_000
WRONG_PASSWORD_SECONDS = 1.0
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Doorkeeper:
    """Refuses what did not come from the page itself: wrong host, foreign origin, missing password."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str] | None, password: str | None) -> None:
        self._app = app
        self._hosts = hosts  # None: any, because a password stands before everything
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = await self._refusal(headers)
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", []),
                    *((k.encode(), v.encode()) for k, v in _HEADERS.items()),
                ]
            await send(message)

        await self._app(scope, receive, guarded)

    async def _refusal(self, headers: dict[str, str]) -> Response | None:
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return _error(421, "this page is served under another host", fix="Open the address that was printed.")
        origin = headers.get("origin")
        if (origin is not None and origin != f"http://{host}") or headers.get("sec-fetch-site") in (
            "cross-site",
            "same-site",
        ):
            # A link that a person follows carries no origin; a page elsewhere that asks in their name does.
            return _error(403, "a request from another site was refused")
        if self._password is not None and not _password_matches(headers.get("authorization"), self._password):
            if "authorization" in headers:
                await asyncio.sleep(WRONG_PASSWORD_SECONDS)
            refusal = _error(401, "this page needs a password")
            refusal.headers["www-authenticate"] = 'Basic realm="finetrial", charset="UTF-8"'
            return refusal
        return None


def _password_matches(header: str | None, password: str) -> bool:
    if header is None or not header.startswith("Basic "):
        return False
    try:
        given = base64.b64decode(header[6:], validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, password.encode())


def _error(status: int, what: str, *, fix: str | None = None) -> JSONResponse:
    return JSONResponse({"error": {"what": what, "fix": fix}}, status_code=status)


def _status_of(error: FinetrialError) -> int:
    if isinstance(error, GradesLocked):
        return 423
    return 507 if isinstance(error, NotWritten) else 400


async def _body(request: Request) -> dict[str, Any]:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES:
            raise UserError("the request is too large", expected=f"at most {BODY_BYTES} bytes")
    try:
        parsed = json.loads(content)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise UserError("the request is not a JSON object")
    return parsed


def _mode(value: Any) -> Mode:
    if value not in ("single", "pairs"):
        raise UserError("unknown mode", got=repr(value), expected="single or pairs")
    return value


class _Pages:
    """The handlers of one trial's page."""

    def __init__(self, desk: Desk, *, token: str, mode: Mode, rater: str | None, folder: str) -> None:
        self._desk = desk
        self._token = token
        self._mode = mode
        self._rater = rater
        self._folder = folder

    def routes(self) -> list[Route]:
        base = "/t/{token}"
        return [
            Route(f"{base}/", self._guard(self.page)),
            Route(f"{base}/static/{{name}}", self._guard(self.static)),
            Route(f"{base}/api/start", self._guard(self.start)),
            Route(f"{base}/api/join", self._guard(self.join), methods=["POST"]),
            Route(f"{base}/api/block", self._guard(self.block)),
            Route(f"{base}/api/changes", self._guard(self.changes)),
            Route(f"{base}/api/events", self._guard(self.event), methods=["POST"]),
        ]

    def _guard(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not hmac.compare_digest(request.path_params["token"].encode(), self._token.encode()):
                raise HTTPException(404)
            try:
                return await handler(request)
            except FinetrialError as error:
                return JSONResponse({"error": error.as_dict()}, status_code=_status_of(error))

        return guarded

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page_html(title=self._desk.settings.title))

    async def static(self, request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        if path.parent != STATIC or path.suffix not in _MEDIA or not path.is_file():
            raise HTTPException(404)
        return Response(path.read_bytes(), media_type=_MEDIA[path.suffix])

    async def start(self, request: Request) -> Response:
        book = self._desk.book
        done = book.done_counts(mode=self._mode)
        return JSONResponse(
            {
                **about(self._desk, mode=self._mode),
                "raters": [{"name": r.name, "done": done.get(r.name, 0)} for r in book.raters()],
                "rater": self._rater,
                "locked": book.locked_at() is not None,
                "folder": self._folder,
            }
        )

    async def join(self, request: Request) -> Response:
        content = await _body(request)
        rater = self._desk.book.join(str(content.get("rater", "")))
        plan = self._desk.plan(rater, mode=self._mode)
        return JSONResponse(
            {
                "rater": rater.name,
                "seq": self._desk.book.last_seq(),
                "blocks": plan_cells(plan, self._desk.book.cells(rater.name, mode=self._mode)),
                "locked": self._desk.book.locked_at() is not None,
            }
        )

    def _plan(self, request: Request) -> Plan:
        rater = self._desk.book.find_rater(request.query_params.get("rater", ""))
        if rater is None:
            raise UserError("unknown rater", fix="Reload the page and give your name.")
        return self._desk.plan(rater, mode=self._mode)

    async def block(self, request: Request) -> Response:
        plan, number = self._plan(request), request.query_params.get("n", "")
        if not number.isdecimal() or int(number) >= len(plan.blocks):
            raise UserError("there is no such prompt", got=repr(number))
        return JSONResponse(self._desk.block_content(plan, int(number)))

    async def changes(self, request: Request) -> Response:
        plan, after = self._plan(request), request.query_params.get("after", "0")
        if not after.isdecimal():
            raise UserError("`after` is not a number", got=repr(after))
        book = self._desk.book
        return JSONResponse(
            {
                "seq": book.last_seq(),
                "cells": [
                    as_object(cell) for cell in book.cells(plan.rater.name, mode=self._mode, after_seq=int(after))
                ],
                "locked": book.locked_at() is not None,
            }
        )

    async def event(self, request: Request) -> Response:
        payload = await _body(request)
        _mode(payload.get("mode", "single"))
        answer = self._desk.record(payload)
        undone = None if answer.undone is None else as_object(answer.undone)
        return JSONResponse({"seq": answer.seq, "cells": cell_states(answer.cells), "undone": undone})


def build_app(
    desk: Desk,
    *,
    token: str,
    hosts: frozenset[str] | None,
    password: str | None = None,
    mode: Mode = "single",
    rater: str | None = None,
    folder: str = "",
) -> ASGIApp:
    """The application. `hosts` are the Host headers it answers to; None, with a password, answers to any."""
    assert hosts is not None or password is not None, "an open door needs a password"
    pages = _Pages(desk, token=token, mode=mode, rater=rater, folder=folder)
    return Doorkeeper(Starlette(routes=pages.routes()), hosts=hosts, password=password)


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
                raise UserError(
                    f"cannot listen on {host}:{candidate}", got=error.strerror, fix="Give another --port."
                ) from None
            continue
        listener.listen(128)
        return listener
    raise AssertionError("the loop returns or raises")


def is_loopback(host: str) -> bool:
    """Does this host name this machine alone?"""
    return host in ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the page can be opened."""

    url: str
    port: int


def address_of(listener: socket.socket, *, host: str, token: str) -> Address:
    """The page's address, its secret token included."""
    port = listener.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return Address(f"http://{shown}:{port}/t/{token}/", port)


def serve(
    folder: TrialFolder,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    password: str | None = None,
    mode: Mode = "single",
    rater: str | None = None,
    on_ready: Callable[[Address], None],
) -> None:
    """Serve the page until interrupted; `on_ready` is called once it can be opened."""
    if not is_loopback(host) and not password:
        raise UserError(
            "a page that other machines can reach needs a password", fix="Give --password, or leave out --host."
        )
    desk = Desk(folder)
    try:
        if mode == "pairs" and not desk.pairs:
            raise UserError("this trial has no pairs to compare", fix="Pairs need two arms on one prompt.")
        listener = bind(host, port=port)
        token = desk.book.token()
        address = address_of(listener, host=host, token=token)
        names = ("127.0.0.1", "localhost", "[::1]")
        hosts = frozenset(f"{name}:{address.port}" for name in names) if is_loopback(host) else None
        app = build_app(
            desk,
            token=token,
            hosts=hosts,
            password=password,
            mode=mode,
            rater=rater,
            folder=str(folder.root),
        )
        config = uvicorn.Config(
            app, log_level="error", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        on_ready(address)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        desk.close()
