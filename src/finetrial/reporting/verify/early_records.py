"""Check what was decided early: that early.json is what its pilots give, and that no pilot lacks its step."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from finetrial.errors import UserError
from finetrial.evidence.early_findings import RULE, early_findings
from finetrial.reporting.verify.tally import Tally
from finetrial.store.layout import TrialFolder
from finetrial.store.pilots import read_early
from finetrial.trial.schema import Trial


def check_early(folder: TrialFolder, trial: Trial, *, tally: Tally) -> None:
    """Decide again from the pilots' records, and compare."""
    record = read_early(folder.early)
    if record is None:
        return  # a run that was stopped between its pilots has none yet; the manifest says where one is missing
    if record.rule != RULE:
        tally.not_looked_at("early.json, which another version decided by another rule")
        return
    try:
        found = early_findings(folder, trial)
    except UserError as error:
        tally.differs("pilots/", error.got, error.expected)
        return
    said = _values(asdict(record))
    now = {} if found is None else _values(asdict(found.record()))
    for key, value in said.items():
        tally.compare(f"early.json: {key}", value, now.get(key), kind="early decisions")
    for pilot in () if found is None else (pilot for own in found.pilots.values() for pilot in own):
        where = folder.pilot(pilot.arm, part=pilot.part).relative_to(folder.root).as_posix()
        share = pilot.full_rows / pilot.part
        tally.compare(f"{where}: rows", pilot.rows, max(1, round(share)), kind="early decisions")
        seed = trial.training.seed
        tally.compare(f"{where}: seed", pilot.seed, seed, kind="early decisions")


def _values(record: dict[str, Any]) -> dict[str, Any]:
    """The record's values as JSON has them, each mapping's own apart, so that numbers are compared as numbers."""
    plain = json.loads(json.dumps(record))
    found: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            found[key] = value
    return found
