"""Answer the pages: the shared address where raters enter, each rater's own link, and the owner's view.

A rater is known by the key in the path and nothing else: a request cannot name another. Handlers touch the database
directly: each commit takes milliseconds, and one after the other is what keeps order simple.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from finetrial.errors import FinetrialError, UserError
from finetrial.judging.access_control import YEAR_SECONDS
from finetrial.judging.database import GradesLocked, NotWritten
from finetrial.judging.grading_session import GradingSession, Mode, RaterPlan
from finetrial.judging.markdown_nodes import formatted_block
from finetrial.judging.page_content import (
    STATIC,
    about,
    cell_states,
    page_html,
    plan_about,
    plan_cells,
    progress_html,
    stand_sentences,
    stand_shown,
)
from finetrial.judging.rater_progress import progress_of
from finetrial.judging.raters import NameTaken, OtherBrowser, Rater, checked_kind
from finetrial.store.grades_file import explained
from finetrial.store.records import as_object

BODY_BYTES = 100_000
BROWSER_COOKIE = "finetrial-browser"
_HERE = ("127.0.0.1", "localhost", "::1")
_MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
Handler = Callable[[Request], Awaitable[Response]]
RaterHandler = Callable[[Request, Rater], Awaitable[Response]]


def _status_of(error: FinetrialError) -> int:
    if isinstance(error, GradesLocked):
        return 423
    if isinstance(error, (NameTaken, OtherBrowser)):
        return 409
    return 507 if isinstance(error, NotWritten) else 400


async def _body(request: Request) -> dict[str, Any]:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_BYTES:
            raise UserError("the request is too large", expected=f"at most {BODY_BYTES} bytes")
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise UserError("the request is not a JSON object")
    return parsed


def _number(request: Request, name: str, *, default: str = "") -> int | None:
    """A whole number of the query; None where it is none, or longer than any that the page sends."""
    text = request.query_params.get(name, default)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


class Pages:
    """The handlers of one trial's pages."""

    def __init__(self, session: GradingSession, *, token: str, mode: Mode, folder: str = "") -> None:
        self._session = session
        self._token = token
        self._mode = mode
        self._folder = folder
        self._keys: dict[str, Rater] = {}

    def routes(self) -> list[Route]:
        """Everything that can be asked for."""
        shared, own, owner = "/t/{token}", "/r/{key}", "/o/{key}"
        return [
            Route(f"{shared}/", self._shared(self.page)),
            Route(f"{shared}/static/{{name}}", self._shared(self.static)),
            Route(f"{shared}/api/start", self._shared(self.door)),
            Route(f"{shared}/api/join", self._shared(self.join), methods=["POST"]),
            Route(f"{own}/", self._link(self.own_page)),
            Route(f"{own}/static/{{name}}", self._link(self.own_static)),
            Route(f"{own}/api/start", self._link(self.start)),
            Route(f"{own}/api/begin", self._link(self.begin), methods=["POST"]),
            Route(f"{own}/api/block", self._theirs(self.block)),
            Route(f"{own}/api/formatted", self._theirs(self.formatted)),
            Route(f"{own}/api/changes", self._theirs(self.changes)),
            Route(f"{own}/api/events", self._theirs(self.event), methods=["POST"]),
            Route(f"{owner}/", self._owners(self.progress)),
            Route(f"{owner}/static/{{name}}", self._owners(self.static)),
        ]

    # Who is asking

    async def _answered(self, handler: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await handler()
        except FinetrialError as error:
            return JSONResponse({"error": error.as_dict()}, status_code=_status_of(error))
        except sqlite3.DatabaseError as error:
            fault = explained(error, path=self._session.path)
            status = 507 if isinstance(fault, NotWritten) else 503
            return JSONResponse({"error": fault.as_dict()}, status_code=status)

    def _shared(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            if not secrets.compare_digest(request.path_params["token"].encode(), self._token.encode()):
                raise HTTPException(404)
            return await self._answered(lambda: handler(request))

        return guarded

    def _owners(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            key = self._session.book.key_for("owner")
            if not secrets.compare_digest(request.path_params["key"].encode(), key.encode()):
                raise HTTPException(404)
            return await self._answered(lambda: handler(request))

        return guarded

    def _rater_of(self, key: str) -> Rater:
        if key not in self._keys:
            book = self._session.book
            self._keys = {book.key_for("rater", rater.name): rater for rater in book.raters()}
        if key not in self._keys:
            raise HTTPException(404)
        return self._keys[key]

    def _link(self, handler: RaterHandler) -> Handler:
        async def guarded(request: Request) -> Response:
            rater = self._rater_of(request.path_params["key"])
            return await self._answered(lambda: handler(request, rater))

        return guarded

    def _theirs(self, handler: RaterHandler) -> Handler:
        """For the rater alone, in a browser in which they began."""

        async def checked(request: Request, rater: Rater) -> Response:
            if not self._session.book.is_theirs(rater.name, browser=request.cookies.get(BROWSER_COOKIE)):
                raise OtherBrowser(
                    f"{rater.name} has not begun in this browser", fix="Reload the page; it says what to do."
                )
            return await handler(request, rater)

        return self._link(checked)

    def _remembered(self, response: Response, browser: str) -> Response:
        response.set_cookie(BROWSER_COOKIE, browser, max_age=YEAR_SECONDS, httponly=True, samesite="lax")
        return response

    # The pages themselves

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page_html(title=self._session.settings.title))

    async def own_page(self, request: Request, rater: Rater) -> Response:
        return await self.page(request)

    async def static(self, request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        if path.parent != STATIC or path.suffix not in _MEDIA or not path.is_file():
            raise HTTPException(404)
        return Response(path.read_bytes(), media_type=_MEDIA[path.suffix])

    async def own_static(self, request: Request, rater: Rater) -> Response:
        return await self.static(request)

    async def progress(self, request: Request) -> Response:
        rows = progress_of(self._session, mode=self._mode)
        stand = stand_sentences(self._session, mode=self._mode)
        return HTMLResponse(
            progress_html(title=self._session.settings.title, rows=rows, mode=self._mode, stand=stand)
        )

    # The shared address

    async def door(self, request: Request) -> Response:
        book = self._session.book
        done = book.done_counts(mode=self._mode)
        known = book.begun_in(request.cookies.get(BROWSER_COOKIE))
        return JSONResponse(
            {
                **about(self._session, mode=self._mode),
                # Who else grades is nobody's business here: only those who began in this very browser.
                "raters": [{"name": r.name, "done": done.get(r.name, 0), "link": self._link_of(r)} for r in known],
                "rater": None,
                "locked": book.locked_at() is not None,
            }
        )

    def _link_of(self, rater: Rater) -> str:
        return f"../../r/{self._session.book.key_for('rater', rater.name)}/"

    async def join(self, request: Request) -> Response:
        content = await _body(request)
        kind = checked_kind(content.get("rater_kind"))
        name = content.get("rater")
        browser = request.cookies.get(BROWSER_COOKIE) or secrets.token_urlsafe(24)
        rater = self._session.book.enter(name if isinstance(name, str) else "", browser=browser)
        self._session.book.declare(rater.name, kind)
        return self._remembered(JSONResponse({"rater": rater.name, "link": self._link_of(rater)}), browser)

    # A rater's own link

    async def start(self, request: Request, rater: Rater) -> Response:
        book = self._session.book
        theirs = book.is_theirs(rater.name, browser=request.cookies.get(BROWSER_COOKIE))
        elsewhere = not theirs and book.is_begun(rater.name)
        return JSONResponse(
            {
                **about(self._session, mode=self._mode),
                **plan_about(self._session.plan(rater, mode=self._mode)),
                "raters": [],
                "rater": rater.name,
                "kind": book.kind_of(rater.name),
                "theirs": theirs,
                "elsewhere": elsewhere,
                "locked": book.locked_at() is not None,
                # Commands are the owner's to type; who comes over the network is told nothing of folders.
                "folder": self._folder if request.url.hostname in _HERE else None,
            }
        )

    async def begin(self, request: Request, rater: Rater) -> Response:
        content, book = await _body(request), self._session.book
        declared = content.get("rater_kind")
        kind = checked_kind(declared if declared is not None else book.kind_of(rater.name))
        browser = request.cookies.get(BROWSER_COOKIE) or secrets.token_urlsafe(24)
        book.admit(rater.name, browser=browser)
        book.declare(rater.name, kind)
        plan = self._session.plan(rater, mode=self._mode)
        joined = {
            "rater": rater.name,
            "kind": kind,
            "seq": book.last_seq(),
            "blocks": plan_cells(plan, book.cells(rater.name, mode=self._mode)),
            "numbers": [block.number for block in plan.blocks],
            "locked": book.locked_at() is not None,
            "stand": self._stand(),
        }
        return self._remembered(JSONResponse(joined), browser)

    def _block(self, request: Request, rater: Rater) -> tuple[RaterPlan, int]:
        plan, number = self._session.plan(rater, mode=self._mode), _number(request, "n")
        if number is None or number >= len(plan.blocks):
            raise UserError("there is no such prompt", got=repr(request.query_params.get("n", ""))[:80])
        return plan, number

    async def block(self, request: Request, rater: Rater) -> Response:
        plan, number = self._block(request, rater)
        return JSONResponse(self._session.block_content(plan, number))

    async def formatted(self, request: Request, rater: Rater) -> Response:
        plan, number = self._block(request, rater)
        return JSONResponse(formatted_block(self._session.block_content(plan, number)))

    async def changes(self, request: Request, rater: Rater) -> Response:
        after, book = _number(request, "after", default="0"), self._session.book
        if after is None:
            raise UserError("`after` is not a number", got=repr(request.query_params.get("after"))[:80])
        cells = book.cells(rater.name, mode=self._mode, after_seq=after)
        return JSONResponse(
            {
                "seq": book.last_seq(),
                "cells": [as_object(cell) for cell in cells],
                "locked": book.locked_at() is not None,
                "stand": self._stand(),
            }
        )

    async def event(self, request: Request, rater: Rater) -> Response:
        answer = self._session.record(await _body(request), rater=rater.name)
        undone = None if answer.undone is None else as_object(answer.undone)
        states = cell_states(answer.cells)
        return JSONResponse({"seq": answer.seq, "cells": states, "undone": undone, "stand": self._stand()})

    def _stand(self) -> dict[str, Any] | None:
        return stand_shown(self._session, mode=self._mode)
