"""`finetrial judge`: let the trial's model judges answer what is open."""

from __future__ import annotations

from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, SetOption, TrialArgument, command_line, print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def judge(
    trial: TrialArgument,
    name: Annotated[
        list[str] | None, typer.Option("--judge", help="Only this judge (may be repeated).", metavar="NAME")
    ] = None,
    out: OutOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every model judge of the trial what it has not answered yet.

    Judges stand in the trial file under judging.judges. They see what a person sees, and no arm's name. Stopped at
    any moment, or by a judge's budget, the same command asks what is missing and nothing twice. Exit status 1
    where questions are still open.
    """
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out, overrides=overrides or (), command=command_line())
    runs = asked.judge(judges=name)
    if as_json:
        print_json({"folder": asked.folder.root, "judges": runs})
    else:
        for run in runs:
            missing = f", {run.unreadable} of them not readable" if run.unreadable else ""
            print(f"{run.name}: {run.answered} of {run.questions} questions answered{missing}")
    if not all(run.complete for run in runs):
        raise typer.Exit(1)
