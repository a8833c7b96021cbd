"""Record what the grades were locked over: lock.json, and the digest that stands for all of it.

Whoever holds a folder can change all of it consistently. A digest that was published when the grades were locked
cannot be changed afterwards: `finetrial verify --lock DIGEST` holds the folder to it. For a trial that nobody
grades, `finetrial report` writes the record, without what grading makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.store.grade_chain import read_chain
from finetrial.store.hashes import hash_file, hash_value
from finetrial.store.layout import TrialFolder
from finetrial.store.left_out import CHAIN, original_hashes

LOCK_VERSION = 1
# Of each arm's folder, what was measured while it was tuned and sampled.
_MEASURED = ("measured.json", "metrics.jsonl", "search.json", "retain.jsonl", "references.jsonl")


def lock_content(folder: TrialFolder) -> dict[str, Any]:
    """What the folder holds now: the hash of every samples file with its references, of every measurement, of the
    plan and of the run's time; where somebody has graded, of items, pairs and key, and the head of the chain over
    the events."""
    arms = folder.root / "arms"
    files = sorted((folder.root / "samples").glob("*.jsonl"))
    files += sorted(path for name in _MEASURED for path in arms.glob(f"*/{name}"))
    files += [folder.plan, folder.run_time]
    chain, grading, originals = read_chain(folder), None, original_hashes(folder)
    if chain is not None and chain.events:
        graded = {path.name: hash_file(path) for path in (folder.items, folder.pairs, folder.key) if path.exists()}
        graded |= {name: noted for name, noted in originals.items() if name in graded}
        grading = {**graded, **dataclasses.asdict(chain), "head": originals.get(CHAIN, chain.head)}
    hashes = {path.relative_to(folder.root).as_posix(): hash_file(path) for path in files if path.exists()}
    hashes |= {name: noted for name, noted in originals.items() if name in hashes}
    return {"version": LOCK_VERSION, "files": hashes, "grading": grading}


def lock_digest(content: Mapping[str, Any]) -> str:
    """The digest that stands for a lock record."""
    return hash_value(content)


def write_lock_record(folder: TrialFolder) -> str:
    """Write lock.json from what the folder holds now. Returns its digest."""
    content = lock_content(folder)
    atomic_text(folder.lock_record, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return lock_digest(content)


def read_lock_record(folder: TrialFolder) -> Mapping[str, Any] | None:
    """What lock.json says; None where there is none. Raises UserError for what is no lock record."""
    if not folder.lock_record.exists():
        return None
    try:
        content = json.loads(folder.lock_record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder.lock_record} is not JSON", got=str(error)) from None
    if not isinstance(content, dict) or content.get("version") != LOCK_VERSION:
        raise UserError(f"{folder.lock_record} is not a lock record", expected=f"version {LOCK_VERSION}")
    return content
