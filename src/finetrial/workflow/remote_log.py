"""Carry what a step says from the process that runs it to whoever watches the run: a file of events in the folder.

Any place that shares the folder can be watched so, and what was said stays for who comes later: logs/<step>.jsonl.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.workflow.listener import Listener

_STEP_SECONDS = 1.0  # between two notes of progress


class LogWriter:
    """A listener that writes events to a step's log. Every attempt begins with an event of its own."""

    def __init__(self, path: Path, *, place: str) -> None:
        """`place` says where the step runs, beside the machine's name and the process."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._noted = path, 0.0
        self._write({"begin": place, "host": socket.gethostname(), "process": os.getpid()})

    def line(self, text: str) -> None:
        """Say one line."""
        self._write({"line": text})

    def step(
        self, label: str, *, done: float, total: float, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Note how far the step is, once in a while."""
        if time.monotonic() - self._noted >= _STEP_SECONDS:
            self._noted = time.monotonic()
            self._write({"label": label, "share": done / total if total else 1.0, "seconds_left": seconds_left})

    def end(self) -> None:
        """Nothing is to be taken away."""

    def _write(self, event: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": round(time.time(), 3), **event}, ensure_ascii=False) + "\n")


def read_events(path: Path, *, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The whole events of a log from a byte on, and the byte behind the last of them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as stream:
        stream.seek(offset)
        content = stream.read()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)


@dataclass(slots=True)
class _Watched:
    """A step that is watched."""

    path: Path
    subject: str
    offset: int
    begun: int = 0  # attempts
    share: float = 0.0


@dataclass(slots=True)
class LogWatch:
    """Follows the logs of the steps that run elsewhere, and tells one listener of all of them."""

    listener: Listener
    left: int = 0  # steps that wait
    _ended: int = 0
    _watched: dict[str, _Watched] = field(default_factory=dict)

    def follow(self, name: str, *, path: Path, subject: str) -> None:
        """Follow a step from now on."""
        self._watched[name] = _Watched(path, subject, path.stat().st_size if path.exists() else 0)

    def look(self) -> None:
        """Tell what was said since, and how far everything is."""
        for watched in self._watched.values():
            events, watched.offset = read_events(watched.path, offset=watched.offset)
            for text in _lines(events, watched):
                self.listener.line(text)
        if self._watched:
            self._show()

    def forget(self, name: str) -> None:
        """Tell the last of a step that has ended."""
        self.look()
        del self._watched[name]
        self._ended += 1

    def _show(self) -> None:
        at_work = [one for one in self._watched.values() if one.begun]
        done = self._ended + sum(one.share for one in at_work)
        named = ", ".join(f"{one.subject} {one.share:.0%}" for one in at_work[:3])
        more = f" and {len(at_work) - 3} more" if len(at_work) > 3 else ""
        detail = f"at work: {named}{more}" if at_work else "waiting for a place"
        total = self._ended + len(self._watched) + self.left
        self.listener.step("the arms' steps", done=min(done, total), total=total, detail=detail)


def _lines(events: list[dict[str, Any]], watched: _Watched) -> Iterator[str]:
    for event in events:
        if "begin" in event:
            watched.begun += 1
            if watched.begun > 1:
                yield f"{watched.subject}: begun again on {event['host']}, attempt {watched.begun}"
        elif "line" in event:
            yield event["line"]
        elif "share" in event:
            watched.share = event["share"]
