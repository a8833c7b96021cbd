"""Samples on disk while an arm is being sampled: every one is written when it has ended, and none is drawn again.

The first line says what the samples were drawn with; those of other settings are not continued. A process that is
killed leaves at most half a line, which is taken off when the file is opened again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from finetrial.errors import UserError
from finetrial.store.records import Sample, adapter_of, as_object

_SYNC_SECONDS = 2.0  # what a machine that loses its power may lose. Assumption
_DRAWN_WITH = "drawn_with"


class PartialSamples:
    """The samples of an arm that is not whole yet, by their ids."""

    def __init__(self, path: Path, *, drawn_with: str) -> None:
        """`drawn_with` is the hash of everything that decides what the samples are."""
        self.path, self._drawn_with = path, drawn_with
        self.samples: dict[str, Sample] = {}
        self._synced = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = self._read()
        self._stream: IO[bytes] = path.open("r+b" if kept else "wb")
        if kept:
            self._stream.truncate(kept)
            self._stream.seek(kept)
        else:
            self._write({_DRAWN_WITH: drawn_with})

    def _read(self) -> int:
        """Take over the samples that stand there; how many bytes of the file are whole lines of these settings."""
        if not self.path.exists():
            return 0
        content = self.path.read_bytes()
        lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
        if not lines or not self._is_ours(lines[0]):
            return 0
        kept = len(lines[0])
        for line in lines[1:]:
            try:
                sample = adapter_of(Sample).validate_json(line)
            except ValueError:  # a block that the disk did not write
                break
            self.samples[sample.id] = sample
            kept += len(line)
        return kept

    def _is_ours(self, line: bytes) -> bool:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            return isinstance(found, dict) and found.get(_DRAWN_WITH) == self._drawn_with
        return False

    def add(self, sample: Sample) -> bool:
        """Write a sample; whether it is new. Raises UserError where the disk takes no more."""
        if sample.id in self.samples:
            return False
        self.samples[sample.id] = sample
        self._write(as_object(sample))
        return True

    def _write(self, row: dict[str, object]) -> None:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            self._stream.write(line)
            self._stream.flush()
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise UserError(
                f"samples cannot be written to {self.path}",
                got=error.strerror,
                fix="Make room and run it again: what was sampled is kept.",
            ) from None

    def close(self) -> None:
        """Stop writing; what there is stays."""
        self._stream.close()

    def remove(self) -> None:
        """The samples are whole elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_samples(path: Path, *, drawn_with: str) -> Iterator[PartialSamples]:
    """Open them; they are removed at the end, and stay where it is not reached."""
    partial = PartialSamples(path, drawn_with=drawn_with)
    try:
        yield partial
    except BaseException:
        partial.close()
        raise
    partial.remove()
