"""`finetrial tune`: tune the arms of a trial, and nothing else."""

from __future__ import annotations

import typer

from finetrial.cli.output import (
    ArmOption,
    DeterministicOption,
    JsonOption,
    OutOption,
    SetOption,
    TrialArgument,
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
    as_json: JsonOption = False,
) -> None:
    """Check the data and tune the arms. An arm that is tuned already is left as it is."""
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(trial, out=out, overrides=overrides or ())
    from finetrial.cli.progress import Progressing
    from finetrial.store.alone import alone_in
    from finetrial.store.records import Measured, read_object
    from finetrial.workflow.context import TrialContext
    from finetrial.workflow.data_check import check_data
    from finetrial.workflow.forecast import Forecast
    from finetrial.workflow.jobs import jobs_to_come
    from finetrial.workflow.run import tune_arms

    with Progressing() as listener, alone_in(folder.root):
        context = TrialContext(loaded, folder, listener=listener, only=arm, deterministic=deterministic)
        context.open()
        check_data(context)
        context.forecast = Forecast(jobs_to_come(context, sampled=False))
        failures = tune_arms(context)
    tuned = [a for a in context.arms if loaded.trial.arms[a].tuned and a not in failures]
    if as_json:
        measured = {a: read_object(folder.measured(a), Measured) for a in tuned}
        print_json(
            {"folder": folder.root, "arms": measured, "failures": {a: e.as_dict() for a, e in failures.items()}}
        )
    else:
        for name in tuned:
            print(f"{name}: {folder.arm(name)}")
    if failures:
        raise typer.Exit(2)
