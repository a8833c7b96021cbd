"""`finetrial sample`: sample the arms of a trial on the same held-out prompts."""

from __future__ import annotations

import typer

from finetrial.cli.output import (
    ArmOption,
    JsonOption,
    OutOption,
    SetOption,
    TrialArgument,
    command_line,
    print_json,
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def sample(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sample every arm: the same prompts and the same random numbers. Arms must be tuned before."""
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out, overrides=overrides or (), command=command_line())
    failures = asked.sample(arms=arm)
    folder = asked.folder
    done = [name for name in arm or asked.loaded.trial.arms if name not in failures]
    if as_json:
        files = {name: folder.samples(name) for name in done}
        print_json(
            {"folder": folder.root, "samples": files, "failures": {a: e.as_dict() for a, e in failures.items()}}
        )
    else:
        for name in done:
            print(f"{name}: {folder.samples(name)}")
    if failures:
        raise typer.Exit(2)
