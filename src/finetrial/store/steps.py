"""Record which steps of a trial are done, and say what made a done step stale.

manifest.json keeps, for every finished step, the hash of each input it consumed and of each file it wrote. A step
is current when all of them still agree; otherwise the first reason is named. Timings are never hashed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.records import RECORDS_VERSION, check_records_version


@dataclass(frozen=True, slots=True)
class StepState:
    """Whether a step must run, and why."""

    current: bool
    reason: str | None  # None when current


class Manifest:
    """The manifest of one trial folder; every change is written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content: dict[str, Any] = {"records": RECORDS_VERSION, "steps": {}}
        check_records_version(path)
        if path.exists():
            try:
                self._content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise UserError(
                    f"{path} is not JSON", fix="Remove it; the steps will run again, weights stay as they are."
                ) from None

    @property
    def content(self) -> Mapping[str, Any]:
        return self._content

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Set facts beside the steps: versions, seeds, device, the exact command."""
        self._content.update({"records": RECORDS_VERSION, **facts})
        self._write()

    def state(self, step: str, *, inputs: Mapping[str, Any]) -> StepState:
        """Is the step's record current for these inputs?"""
        record = self._content["steps"].get(step)
        if record is None:
            return StepState(False, "not done yet")
        absent = hash_value(None)  # an input that is not there is one that is None
        hashes = {name: hash_value(value) for name, value in inputs.items()}
        for name in sorted(set(hashes) | set(record["inputs"])):
            if hashes.get(name, absent) != record["inputs"].get(name, absent):
                return StepState(False, f"{name} changed")
        for name, written in record["outputs"].items():
            path = self._path.parent / name
            if not path.exists():
                return StepState(False, f"{name} is missing")
            if hash_file(path) != written:
                return StepState(False, f"{name} was changed by hand")
        return StepState(True, None)

    def finish(self, step: str, *, inputs: Mapping[str, Any], outputs: list[Path]) -> None:
        """Record a step as done with what it consumed and wrote."""
        self._content["steps"][step] = {
            "inputs": {name: hash_value(value) for name, value in inputs.items()},
            "outputs": {str(p.relative_to(self._path.parent)): hash_file(p) for p in outputs},
        }
        self._write()

    def _write(self) -> None:
        atomic_text(self._path, json.dumps(self._content, indent=2, ensure_ascii=False, default=str) + "\n")
