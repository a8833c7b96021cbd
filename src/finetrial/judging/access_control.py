"""Refuse requests that did not come from the page itself: wrong host, foreign origin, missing or wrong password.

Wrong passwords are counted for the whole server: many connections at once try no more of them than one does. Who
has given the right one carries a cookie from then on and is not held up by somebody else's guessing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

# Assumption: nobody mistypes more often. Eight random letters then last 40,000 years at ten guesses a minute.
WRONG_PASSWORDS = 10
WINDOW_SECONDS = 60.0
PASS_COOKIE = "finetrial-door"
YEAR_SECONDS = 365 * 24 * 3600
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


def error_response(status: int, what: str, *, fix: str | None = None) -> JSONResponse:
    """A refusal as the page reads it."""
    return JSONResponse({"error": {"what": what, "fix": fix}}, status_code=status)


class Password:
    """The server's one password, and how many wrong ones were tried of late.

    `pass_value` stands for it in a cookie.
    """

    def __init__(self, password: str, *, pass_value: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._password = password.encode()
        self.pass_value = pass_value
        self._clock = clock
        self._wrong: deque[float] = deque()

    def refusal(self, headers: Mapping[str, str]) -> Response | None:
        """The refusal of these headers; None where they are accepted."""
        if hmac.compare_digest(_cookie(headers, PASS_COOKIE).encode(), self.pass_value.encode()):
            return None
        given = _basic_password(headers.get("authorization"))
        if given is not None:
            now = self._clock()
            while self._wrong and now - self._wrong[0] >= WINDOW_SECONDS:
                self._wrong.popleft()
            if len(self._wrong) >= WRONG_PASSWORDS:
                seconds = math.ceil(WINDOW_SECONDS - (now - self._wrong[0]))
                refusal = error_response(429, "too many wrong passwords", fix=f"Try again in {seconds} seconds.")
                refusal.headers["retry-after"] = str(seconds)
                return refusal
            if hmac.compare_digest(given, self._password):
                return None
            self._wrong.append(now)
        refusal = error_response(401, "this page needs a password")
        refusal.headers["www-authenticate"] = 'Basic realm="finetrial", charset="UTF-8"'
        return refusal


def _basic_password(header: str | None) -> bytes | None:
    """The password of an Authorization header, whatever the user name; None where there is no such header."""
    if header is None:
        return None
    try:
        return base64.b64decode(header.removeprefix("Basic "), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _cookie(headers: Mapping[str, str], name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found is not None else ""


class AccessControl:
    """Middleware that passes on only what came from the application's own page."""

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str] | None, password: Password | None) -> None:
        self._app = app
        self._hosts = hosts  # None: any, because a password stands before everything
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        refusal = self._refusal(headers, method=scope["method"])
        if refusal is not None:
            await refusal(scope, receive, send)
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._added(headers)]
            await send(message)

        await self._app(scope, receive, guarded)

    def _added(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        added = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
        if self._password is not None and "authorization" in headers:
            cookie = f"{PASS_COOKIE}={self._password.pass_value}; Path=/; HttpOnly; SameSite=Lax"
            added.append((b"set-cookie", f"{cookie}; Max-Age={YEAR_SECONDS}".encode()))
        return added

    def _refusal(self, headers: Mapping[str, str], *, method: str) -> Response | None:
        host = headers.get("host", "")
        if self._hosts is not None and host not in self._hosts:
            return error_response(
                421, "this page is served under another host", fix="Open the address that was printed."
            )
        if _is_foreign(headers, host=host, method=method):
            return error_response(403, "a request from another site was refused")
        return None if self._password is None else self._password.refusal(headers)


def _is_foreign(headers: Mapping[str, str], *, host: str, method: str) -> bool:
    """True for a request that another site's page made (CSRF); a link followed from a mail is none."""
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return True
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    followed = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (method == "GET" and followed)
