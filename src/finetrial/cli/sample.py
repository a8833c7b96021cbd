"""`finetrial sample`: sample the arms of a trial on the same held-out prompts."""

from __future__ import annotations

import typer

from finetrial.cli.output import ArmOption, JsonOption, OutOption, SetOption, TrialArgument, print_json

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
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(trial, out=out, overrides=overrides or ())
    from finetrial.cli.progress import Progressing
    from finetrial.store.alone import alone_in
    from finetrial.workflow.context import TrialContext
    from finetrial.workflow.run import sample_arms

    with Progressing() as listener, alone_in(folder.root):
        context = TrialContext(loaded, folder, listener=listener, only=arm)
        context.open()
        failures = sample_arms(context, failures={})
    done = [a for a in context.arms if a not in failures]
    if as_json:
        files = {a: folder.samples(a) for a in done}
        print_json(
            {"folder": folder.root, "samples": files, "failures": {a: e.as_dict() for a, e in failures.items()}}
        )
    else:
        for name in done:
            print(f"{name}: {folder.samples(name)}")
    if failures:
        raise typer.Exit(2)
