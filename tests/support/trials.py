"""What tests of a trial's data share: a trial from its `data` block, and files of rows."""

import json
from pathlib import Path

import yaml

from finetrial.trial.trial_file import LoadedTrial, parse_trial

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def trial_with(base, *, arms=None, **data):
    """A loaded trial whose relative paths start from `base`."""
    content = {"trial": "t", "model": "gpt2", "data": data, "arms": arms or {"base": {}}}
    text = yaml.safe_dump(content, allow_unicode=True)
    return LoadedTrial(trial=parse_trial(text, origin="trial.yaml"), base=base)
