"""Put figures of docs/results into a page: nothing that was measured is typed by hand.

  {{ value FILE.json: KEY.KEY.0 | FORMAT }}   a value; formats: duration, percent, or Python's (.2f)
  {{ took FILE.json: COMMAND }}               what a command took, of a walked page
  {{ output FILE.json: COMMAND | first 20 }}  what it said, as a block; `first N` or `last N` lines of it
  {{ steps FILE.json: all }}                  every command of a walked page and what it took, as a table

COMMAND is the command's beginning; the first that begins so counts. A name that is not there is a KeyError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from finetrial.units import format_seconds

RESULTS = Path(__file__).parents[2] / "docs" / "results"
_MACRO = re.compile(r"\{\{ (value|took|output|steps) ([\w./-]+\.json): (.+?)(?: \| ([\w .,%]+))? \}\}")


@cache
def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def _value(name: str, path: str, form: str | None) -> str:
    found = _read(name)
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    if form is None:
        return str(found)
    if form == "duration":
        return format_seconds(float(found))
    if form == "percent":
        return f"{100 * float(found):.0f} %"
    return format(found, form)


def _step(name: str, command: str) -> dict[str, Any]:
    for step in _read(name)["steps"]:
        if step["command"].startswith(command):
            return dict(step)
    raise KeyError(f"{name} has no command that begins {command!r}")


def _took(name: str, command: str, form: str | None) -> str:
    return format_seconds(float(_step(name, command)["seconds"]))


def _output(name: str, command: str, form: str | None) -> str:
    lines = _step(name, command)["output"].splitlines()
    cut = re.fullmatch(r"(first|last) (\d+)", form or "")
    if cut is not None and len(lines) > int(cut[2]):
        kept = lines[: int(cut[2])] if cut[1] == "first" else lines[-int(cut[2]) :]
        lines = [*kept, "…"] if cut[1] == "first" else ["…", *kept]
    return "\n".join(["```text", *lines, "```"])


def _steps(name: str, command: str, form: str | None) -> str:
    steps = [step for step in _read(name)["steps"] if command == "all" or step["command"].startswith(command)]
    if not steps:
        raise KeyError(f"{name} has no command that begins {command!r}")
    rows = [f"| `{step['command']}` | {format_seconds(step['seconds'])} |" for step in steps]
    return "\n".join(["| typed | took |", "|---|---|", *rows])


_KINDS: dict[str, Callable[[str, str, str | None], str]] = {
    "value": _value,
    "took": _took,
    "output": _output,
    "steps": _steps,
}


def with_figures(markdown: str) -> str:
    """The page with every figure in its place. Raises KeyError for one that is not there."""
    return _MACRO.sub(lambda macro: _KINDS[macro[1]](macro[2], macro[3], macro[4]), markdown)
