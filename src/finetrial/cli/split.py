"""`finetrial split`: write the trial's rows by split, so that a model trained elsewhere trains on the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, SetOption, TrialArgument, log, print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def split(
    trial: TrialArgument,
    out: Annotated[Path, typer.Option("--out", help="The folder for train, validation and heldout.jsonl.")],
    shown: Annotated[
        bool, typer.Option("--shown", help="Prompts in the trial's template, as a model is shown them.")
    ] = False,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the trial's rows by split: train elsewhere on train.jsonl, never on heldout.jsonl.

    A trial with `source: FOLDER` reads them back as the same splits, by the names prompt and completion. Name the
    file where the model comes in, as `mine: {model: FOLDER, trained_on: train.jsonl}`: it is checked against the
    held-out rows.
    """
    from finetrial.trial.data import read_splits
    from finetrial.trial.split_files import write_splits
    from finetrial.trial.trial_file import load_trial

    loaded = load_trial(trial, overrides=overrides or ())
    splits = read_splits(loaded)
    files = write_splits(splits, loaded, folder=out, shown=shown)
    for note in splits.notes:
        log(note)
    if as_json:
        print_json({"folder": out, "files": files, "content_hash": splits.content_hash, "notes": splits.notes})
        return
    for name, file in files.items():
        print(f"{name:<11}{file.rows:>8,}  {file.path}")
