"""Read and write manifest.json: what every finished step consumed and wrote, and the circumstances of the run.

A step's record holds the hash of each input it consumed and of each file it wrote. Timings are never hashed.
`workflow.planner` compares the records with what the steps would consume now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.hashes import FileHashes
from finetrial.store.records import RECORDS_VERSION, check_records_version


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What a finished step consumed and wrote."""

    inputs: Mapping[str, str]  # name -> hash of the value
    outputs: Mapping[str, str]  # path within the trial folder -> hash of the content
    # likewise, of files that a report or a reader reads and no step consumes: changed, they make nothing run again,
    # and verification names them
    beside: Mapping[str, str] = field(default_factory=dict)


class Manifest:
    """The manifest of one trial folder; every change is written at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hashes, self._text = FileHashes(), _Text()
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
    def root(self) -> Path:
        """The trial folder."""
        return self._path.parent

    @property
    def content(self) -> Mapping[str, Any]:
        """Everything that the file holds."""
        return self._content

    @property
    def records(self) -> Mapping[str, StepRecord]:
        """The finished steps by name."""
        steps = self._content.get("steps", {})
        return {
            name: StepRecord(record["inputs"], record["outputs"], record.get("beside", {}))
            for name, record in steps.items()
        }

    @property
    def begun(self) -> Mapping[str, Mapping[str, str]]:
        """The inputs of steps that began and are not finished, by name."""
        begun: Mapping[str, Mapping[str, str]] = self._content.get("begun", {})
        return begun

    def file_hash(self, name: str) -> str | None:
        """The hash of a file as it is now, by its path within the trial folder; None where there is none."""
        return self._hashes.of(self._path.parent / name)

    def describe(self, facts: Mapping[str, Any]) -> None:
        """Set facts beside the steps: versions, seeds, device, the exact command."""
        self._content.update({"records": RECORDS_VERSION, **facts})
        self._write()

    def finish(
        self, step: str, *, inputs: Mapping[str, str], outputs: Sequence[Path], beside: Sequence[Path] = ()
    ) -> None:
        """Record a step as done, with the hashes of what it consumed and the files it wrote."""
        self.restore(step, StepRecord(inputs, self.hashes(outputs), self.hashes(beside)))

    def hashes(self, files: Sequence[Path]) -> dict[str, str]:
        """The hash of each file, all of which are there, by its path within the trial folder."""
        names = [path.relative_to(self._path.parent).as_posix() for path in files]
        found = {name: self.file_hash(name) for name in names}
        assert None not in found.values(), f"not written: {found}"
        return {name: value or "" for name, value in found.items()}

    def begin(self, step: str, *, inputs: Mapping[str, str]) -> None:
        """Note what a step consumes that now begins."""
        self._content["begun"] = {**self.begun, step: dict(inputs)}
        self._write()

    def restore(self, step: str, record: StepRecord) -> None:
        """Set a finished step's record."""
        content = {"inputs": dict(record.inputs), "outputs": dict(record.outputs)}
        self._content["steps"][step] = content | ({"beside": dict(record.beside)} if record.beside else {})
        self._forget_begun(step)
        self._write()

    def forget(self, step: str) -> None:
        """Drop what is known of a step whose files are gone."""
        self._content["steps"].pop(step, None)
        self._forget_begun(step)
        self._write()

    def _forget_begun(self, step: str) -> None:
        left = {name: inputs for name, inputs in self.begun.items() if name != step}
        self._content.pop("begun", None)
        if left:
            self._content["begun"] = left

    def _write(self) -> None:
        atomic_text(self._path, self._text.of(self._content) + "\n")


class _Text:
    """The manifest as JSON. What is the same object as before is not encoded again: of a thousand arms' records one
    changes at a time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[Any, str]] = {}

    def of(self, content: Mapping[str, Any], *, place: tuple[str, ...] = ()) -> str:
        """As json.dumps with an indent of two gives it."""
        if not content:
            return "{}"
        margin = "  " * (len(place) + 1)
        parts = []
        for key, value in content.items():
            inside = (*place, key)
            is_many = not place and key in ("steps", "begun", "resolved") and isinstance(value, Mapping)
            text = self.of(value, place=inside) if is_many else self._encoded(value, inside, margin=margin)
            parts.append(f"{margin}{json.dumps(key, ensure_ascii=False)}: {text}")
        return "{\n" + ",\n".join(parts) + "\n" + "  " * len(place) + "}"

    def _encoded(self, value: Any, place: tuple[str, ...], *, margin: str) -> str:
        known = self._known.get(place)
        if known is None or known[0] is not value:
            text = json.dumps(value, indent=2, ensure_ascii=False, default=str).replace("\n", "\n" + margin)
            known = self._known[place] = (value, text)
        return known[1]
