"""`finetrial run`: check, tune, sample, score and report; continue where it stopped."""

from __future__ import annotations

from pathlib import Path

import typer

from finetrial.cli.output import (
    ArmOption,
    DeterministicOption,
    JsonOption,
    OutOption,
    SetOption,
    TrialArgument,
    log,
    print_json,
)

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def run_and_show(
    trial: Path,
    *,
    out: Path | None,
    overrides: list[str] | None,
    arm: list[str] | None,
    as_json: bool,
    deterministic: bool = False,
) -> None:
    """Run a trial and print its table and where its report is. Failed arms end with exit status 2."""
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(trial, out=out, overrides=overrides or ())
    from finetrial.cli.progress import Progressing
    from finetrial.reporting.results import read_results
    from finetrial.workflow.context import TrialContext  # after the trial file is known to be sound: torch loads
    from finetrial.workflow.run import run_trial

    with Progressing() as listener:
        context = TrialContext(loaded, folder, listener=listener, only=arm, deterministic=deterministic)
        done = run_trial(context)
    assert done.report is not None
    if as_json:
        results = read_results(folder)
        failures = {name: error.as_dict() for name, error in done.failures.items()}
        print_json({"folder": folder.root, "report": done.report.html, "failures": failures, "results": results})
    else:
        print(f"\n{done.report.terminal}\n\nThe report: {done.report.html}")
    for name, error in done.failures.items():
        log(f"arm {name} failed: {error}")
    if done.failures:
        raise typer.Exit(2)


@app.command()
def run(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    deterministic: DeterministicOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the data, tune every arm, sample, score and write the report.

    Started again, it skips what is done and continues what is not.
    """
    run_and_show(trial, out=out, overrides=overrides, arm=arm, as_json=as_json, deterministic=deterministic)
