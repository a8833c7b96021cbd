"""`finetrial run`: check, tune, sample, score and report; continue where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, SetOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)

OutOption = Annotated[
    Path | None, typer.Option("--out", help="The trial's folder; runs/<name> beside the file unless given.")
]


@app.command()
def run(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: Annotated[list[str] | None, typer.Option("--arm", help="Only this arm (may be repeated).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the data, tune every arm, sample, score and write the report.

    Started again, it skips what is done and continues what is not.
    """
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(trial, out=out, overrides=overrides or ())
    from finetrial.cli.progress import Progressing
    from finetrial.conductor import Conductor  # after the trial file is known to be sound: this loads torch

    with Progressing() as listener:
        conductor = Conductor(loaded, folder, listener=listener, only=tuple(arm) if arm else None)
        files = conductor.run()
    from finetrial.reporting.results import read_results
    from finetrial.reporting.terminal import score_table

    results = read_results(folder)
    if as_json:
        print_json({"folder": folder.root, "report": files.html, "results": results})
        return
    print(score_table(results))
    print(f"\nThe report: {files.html}")
