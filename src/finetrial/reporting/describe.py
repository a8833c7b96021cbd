"""Put what a run recorded of data and failures into words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def short_source(source: str) -> str:
    """A local path by its last part, for a report may travel; a hub id as it is."""
    return Path(source).name or source if source.startswith(("/", ".", "~")) else source


def at_path(content: Mapping[str, Any], *names: str) -> Any:
    """What stands at a path of a JSON object; None where the path ends early."""
    found: Any = content
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def data_findings(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings of the data check that did not stop the trial, each once."""
    gates = [at_path(data, "text"), *(at_path(data, "tokens") or {}).values()]
    messages = [f"Data: {finding['message']}." for gate in gates for finding in (at_path(gate, "findings") or ())]
    return tuple(dict.fromkeys(messages))


def failures(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Why an arm stopped, as the run recorded it."""
    stopped = manifest.get("failures")
    return tuple(f"{arm} stopped: {at_path(error, 'what')}." for arm, error in (stopped or {}).items())
