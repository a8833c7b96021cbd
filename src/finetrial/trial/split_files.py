"""Write a trial's rows by split, so that a model trained elsewhere trains, validates and is asked on the same.

The files are a data source of their own: a trial with `source: FOLDER` reads the same splits, with the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetrial.errors import UserError
from finetrial.store.files import atomic_text
from finetrial.trial.examples import Example, SplitName, Splits
from finetrial.trial.template import PLAIN, render_prompt
from finetrial.trial.trial_file import LoadedTrial


@dataclass(frozen=True, slots=True)
class SplitFile:
    """One split as a file."""

    path: Path
    rows: int


def split_row(example: Example, *, template: str = PLAIN, group: str | None = None) -> dict[str, Any]:
    """A row with its id, prompt and completion, its group in the column of that name, and its other text columns.

    The prompt is as the data gave it, or in the template; a chat is its turns. Several references are a list; a
    prompt of its own has none.
    """
    row: dict[str, Any] = {"id": example.id}
    if example.messages is not None and template == PLAIN:
        row["messages"] = [turn.as_row for turn in example.messages]
        if example.tools:
            row["tools"] = list(example.tools)
    else:
        row["prompt"] = render_prompt(example, template=template)
        if example.references:
            row["completion"] = example.references[0] if len(example.references) == 1 else list(example.references)
    if group is not None and example.group is not None:
        row[group] = example.group
    return row | {name: text for name, text in example.fields.items() if name not in row}


def write_splits(
    splits: Splits, loaded: LoadedTrial, *, folder: Path, shown: bool = False
) -> Mapping[SplitName, SplitFile]:
    """Write train.jsonl, validation.jsonl and heldout.jsonl. With `shown` prompts are in the trial's template.

    Files that hold the same are left as they are. Raises UserError, before anything is written, where a file of
    another content is there.
    """
    data = loaded.trial.data
    template = data.template if shown else PLAIN
    rows = {
        name: [split_row(example, template=template, group=data.group) for example in examples]
        for name, examples in splits.by_name.items()
    }
    texts = {
        name: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in of_split)
        for name, of_split in rows.items()
    }
    paths = {name: folder / f"{name}.jsonl" for name in texts}
    for name, path in paths.items():
        if path.exists() and path.read_bytes() != texts[name].encode():
            raise UserError(
                f"{path} is there already, with other rows",
                fix="Name another folder with --out, or remove the file.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        if not path.exists():
            atomic_text(path, texts[name])
    return {name: SplitFile(paths[name], len(examples)) for name, examples in splits.by_name.items()}
