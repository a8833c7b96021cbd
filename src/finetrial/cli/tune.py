"""`finetrial tune`: tune the arms of a trial, and nothing else."""

from __future__ import annotations

import typer

from finetrial.cli.output import (
    ArmOption,
    DeterministicOption,
    JsonOption,
    OnOption,
    OutOption,
    SetOption,
    TogetherOption,
    TrialArgument,
    command_line,
    print_json,
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def tune(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    deterministic: DeterministicOption = False,
    on: OnOption = "here",
    together: TogetherOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the data and tune the arms. An arm that is tuned already is left as it is."""
    from finetrial.api.trial import Trial
    from finetrial.store.records import Measured, read_object
    from finetrial.trial.sweep import chosen_arms

    asked = Trial.load(trial, folder=out, overrides=overrides or (), command=command_line())
    chosen = chosen_arms(arm, asked.loaded.trial.arms)
    failures = asked.tune(arms=chosen, deterministic=deterministic, on=on, together=together)
    arms, folder = asked.loaded.trial.arms, asked.folder
    tuned = [name for name in chosen or arms if arms[name].tuned and name not in failures]
    if as_json:
        measured = {name: read_object(folder.measured(name), Measured) for name in tuned}
        print_json(
            {"folder": folder.root, "arms": measured, "failures": {a: e.as_dict() for a, e in failures.items()}}
        )
    else:
        for name in tuned:
            print(f"{name}: {folder.arm(name)}")
    if failures:
        raise typer.Exit(2)
