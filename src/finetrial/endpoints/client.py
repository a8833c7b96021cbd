"""Ask a server that speaks OpenAI's completions, however badly it behaves.

A server that is busy, broken or silent is asked again after growing pauses; one that refuses the request or the
key is not. The key goes into one header and nowhere else: redirects are not followed, and an answer that repeats
the key is given back without it.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from finetrial import __version__
from finetrial.endpoints.setting import Endpoint
from finetrial.errors import UserError

CHAT, PLAIN = "/chat/completions", "/completions"
# Busy, timed out, or broken on the way: the same request may go through later (RFC 9110, sections 15.5.9, 15.6;
# RFC 6585, section 4). 529 is what some hosts send when overloaded.
_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_REFUSED = {401, 403, 404, 405}  # the key, the model or the address: the next request fares no better
_UNKNOWN_FIELD = {400, 422, 501}  # what servers say to a field that they do not know; some a 500 that names it
_MOST_BYTES = 16 * 2**20  # of an answer. Assumption: none is longer
_LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request. `raw` None: no words came, and `error` says why."""

    raw: str | None
    error: str | None
    requests: int  # that were sent
    answered_by: str | None = None
    finish_reason: str | None = None
    constrained: bool = False  # the server took the optional fields, such as a schema, in one of their forms
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    seconds: float | None = None  # from the request that was answered to its answer


class _Failed(Exception):
    """One request came to nothing. `again`: another try may go through."""

    def __init__(self, text: str, *, again: bool, status: int | None = None, pause: float | None = None) -> None:
        super().__init__(text)
        self.text, self.again, self.status, self.pause = text, again, status, pause


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the key is for the address that the trial file names."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Through the environment's proxy, but for this very machine."""
    host = urlsplit(url).hostname or ""
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({} if is_local else None))


class Client:
    """One server; any number of threads may ask it."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        whose: str,
        timeout_seconds: float,
        attempts: int,
        backoff_seconds: float,
        seed: int = 0,
    ) -> None:
        """`whose` names in errors who asks, such as `judge qwen`; `seed` spreads the pauses and nothing else.

        Raises UserError where the variable that should hold the key is empty.
        """
        self._endpoint, self._whose = endpoint, whose
        self._timeout, self._attempts, self._backoff = timeout_seconds, attempts, backoff_seconds
        self._key = key_of(endpoint, whose=whose)
        self._opener = _opener(endpoint.url)
        self._form = 0  # of the optional fields: the first one that the server has taken
        self._limit_field = "max_tokens"
        self._random = random.Random(seed)
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Wait for nothing more: pauses end at once."""
        self._stopped.set()

    def ask(
        self,
        body: Mapping[str, Any],
        *,
        path: str = CHAT,
        may_send: Callable[[], bool] = lambda: True,
        optional: Sequence[Mapping[str, Any]] = (),
    ) -> Reply:
        """The answer to one request. `may_send` is asked before every try, and says whether the budget allows it.

        `optional` are forms of fields that servers know by different names: the first that this one takes is added
        to the body, then and from then on, or none. Raises UserError for what no further request can mend, such as
        a key that is refused.
        """
        sent, tries, form = 0, 0, self._form
        while True:
            if self._stopped.is_set():
                return Reply(None, "stopped", sent)
            if not may_send():
                return Reply(None, "the budget is spent", sent)
            sent += 1
            limit_field, added = self._limit_field, optional[form] if form < len(optional) else {}
            named = {limit_field if name == "max_tokens" else name: value for name, value in body.items()}
            began = time.monotonic()
            try:
                content = self._send({**named, **added}, path=path)
                reply = _reply(
                    content,
                    requests=sent,
                    constrained=bool(added),
                    without=self._without_key,
                    seconds=time.monotonic() - began,
                )
                self._form = max(self._form, form)  # only now: what was refused may have been this very question
                return reply
            except _Failed as failed:
                if failed.status in _REFUSED:
                    raise self._refusal(failed) from None
                if failed.status == 400 and "max_completion_tokens" in failed.text and limit_field == "max_tokens":
                    self._limit_field = "max_completion_tokens"  # newer hosted models know the limit by this name
                    continue
                if _is_unknown_field(failed, added):
                    form += 1  # however it is asked, the answer is parsed as strictly
                    continue
                tries += 1
                if not failed.again or tries >= self._attempts:
                    return Reply(None, failed.text, sent)
                self._stopped.wait(self._pause(failed, tries=tries))

    def _pause(self, failed: _Failed, *, tries: int) -> float:
        """Seconds before the next try: doubled each time and spread, and never less than the server asks for."""
        grown: float = self._backoff * 2 ** (tries - 1) * self._random.uniform(0.75, 1.25)
        return min(_LONGEST_PAUSE_SECONDS, max(grown, failed.pause or 0.0))

    def _send(self, fields: Mapping[str, Any], *, path: str) -> Any:
        headers = {"Content-Type": "application/json", "User-Agent": f"finetrial/{__version__}"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(
            f"{self._endpoint.url}{path}", data=json.dumps(fields).encode(errors="replace"), headers=headers
        )
        deadline = time.monotonic() + self._timeout
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = _read_all(response, deadline=deadline)
        except urllib.error.HTTPError as error:
            raise self._of_status(error) from None
        except TimeoutError:
            raise _Failed(f"no answer within {self._timeout:g} s", again=True) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None)
            text = f"{type(error).__name__}: {reason if reason is not None else error}"
            raise _Failed(self._without_key(text), again=True) from None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise _Failed("what came is not JSON", again=True) from None

    def _of_status(self, error: urllib.error.HTTPError) -> _Failed:
        try:
            said = error.read(2_000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            said = ""
        finally:
            error.close()
        text = f"HTTP {error.code}: {' '.join(self._without_key(said).split())[:300]}"
        pause = error.headers.get("Retry-After") if error.headers is not None else None
        seconds = float(pause) if pause is not None and pause.isdigit() else None
        return _Failed(text, again=error.code in _AGAIN, status=error.code, pause=seconds)

    def _without_key(self, text: str) -> str:
        return text if not self._key else text.replace(self._key, "[key]")

    def _refusal(self, failed: _Failed) -> UserError:
        named = self._endpoint.key_env
        return UserError(
            f"the endpoint of {self._whose} refuses to be asked ({self._endpoint.url})",
            got=failed.text,
            fix="See that `url` and `model` are right"
            + (
                "; a server that wants a key gets one where endpoint.key_env names the variable that holds it."
                if named is None
                else f", and that ${named} holds a key that is valid there."
            ),
        )


def _is_unknown_field(failed: _Failed, added: Mapping[str, Any]) -> bool:
    """Whether a request may have been refused for the fields that were added to it."""
    named = failed.status == 500 and any(name in failed.text for name in added)
    return bool(added) and (named or failed.status in _UNKNOWN_FIELD)


def key_of(endpoint: Endpoint, *, whose: str) -> str | None:
    """The key in the variable that the endpoint names; None where it names none.

    Raises UserError for an empty one.
    """
    name = endpoint.key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise UserError(
            f"{whose} needs a key and ${name} is empty",
            fix=f"Set {name} in the environment and run again.",
        )
    return key


def _read_all(response: http.client.HTTPResponse, *, deadline: float) -> bytes:
    """The whole answer. A server that dribbles is cut off at the deadline as one that is silent."""
    parts, size = [], 0
    while part := response.read1(65_536):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES:
            raise _Failed(f"the answer is longer than {_MOST_BYTES:,} bytes", again=False)
        if time.monotonic() > deadline:
            raise TimeoutError
    announced = response.headers.get("Content-Length")
    if announced is not None and announced.isdigit() and size < int(announced):
        raise _Failed(f"the answer broke off after {size} of {announced} bytes", again=True)
    return b"".join(parts)


def _reply(
    content: Any, *, requests: int, constrained: bool, without: Callable[[str], str], seconds: float
) -> Reply:
    """The words in a completion, of a chat or plain. Raises _Failed where it is none."""
    try:
        choice = content["choices"][0]
        if "message" in choice:
            words = choice["message"].get("content")
            if words is None:
                words = choice["message"].get("refusal") or ""
        else:
            words = choice["text"]
        if isinstance(words, list):  # parts, as some servers answer
            words = "".join(part.get("text", "") for part in words)
        usage = content.get("usage") or {}
        finish, named = choice.get("finish_reason"), content.get("model")
        counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError):
        said = without(json.dumps(content, ensure_ascii=False))[:300]
        raise _Failed(f"what came is no completion: {said}", again=True) from None
    if not isinstance(words, str):
        raise _Failed("what came is no completion: its content is no text", again=True)
    prompt_tokens, generated = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    return Reply(
        raw=without(words),
        error=None,
        requests=requests,
        answered_by=without(named) if isinstance(named, str) else None,
        finish_reason=finish if isinstance(finish, str) else None,
        constrained=constrained,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated,
        seconds=seconds,
    )
