"""Record which files of a folder stand without their texts, with the hashes that they had: left_out.json.

A bundle of private data holds stand-ins for its texts. Manifest, report and lock know the files by the hashes of
the originals, which stand here; nothing in the bundle can show that they are those of these texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.layout import TrialFolder

LEFT_OUT_VERSION = 1
CHAIN = "grades.sqlite: chain of events"  # recorded where notes were taken out of the events


def write_left_out(folder: TrialFolder, hashes: Mapping[str, str]) -> None:
    """Write the record. `hashes`: SHA-256 of each original by its name in the folder."""
    content = {"version": LEFT_OUT_VERSION, "files": dict(sorted(hashes.items()))}
    atomic_text(folder.left_out, json.dumps(content, indent=1) + "\n")


def original_hashes(folder: TrialFolder) -> Mapping[str, str]:
    """The hashes of the originals by their names; empty where every file is whole."""
    if not folder.left_out.exists():
        return {}
    try:
        content = json.loads(folder.left_out.read_text(encoding="utf-8"))
        files = content["files"]
        assert content["version"] == LEFT_OUT_VERSION and all(isinstance(value, str) for value in files.values())
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise UserError(
            f"{folder.left_out} is not a record of what was left out", got=f"{type(error).__name__}: {error}"
        ) from None
    return dict(files)
