"""`finetrial run`: check, tune, sample, score and report; continue where it stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

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
    log,
    print_json,
)
from finetrial.errors import UserError
from finetrial.units import format_seconds

SKYPILOT = "skypilot"
app = typer.Typer(add_completion=False, rich_markup_mode=None)


def run_and_show(
    trial: Path,
    *,
    out: Path | None,
    overrides: list[str] | None,
    arm: list[str] | None,
    as_json: bool,
    deterministic: bool = False,
    even_if_it_does_not_fit: bool = False,
    smoke: bool = False,
    early: bool = False,
    on: str = "here",
    together: bool = False,
) -> None:
    """Run a trial and print its table and where its report is. Failed arms end with exit status 2."""
    from finetrial.api.trial import Trial
    from finetrial.reporting.results import read_results
    from finetrial.trial.smoke import left_out
    from finetrial.trial.sweep import chosen_arms

    asked = Trial.load(trial, folder=out, overrides=overrides or (), command=command_line())
    whole, asked, began = asked, asked.smoke() if smoke else asked, time.perf_counter()
    arms = chosen_arms(arm, asked.loaded.trial.arms)
    result = asked.run(
        arms=arms,
        deterministic=deterministic,
        even_if_it_does_not_fit=even_if_it_does_not_fit,
        early=early,
        on=on,
        together=together,
    )
    assert result.files is not None
    if as_json:
        failures = {name: error.as_dict() for name, error in result.failures.items()}
        results = read_results(result.folder)
        print_json(
            {
                "folder": result.folder.root,
                "report": result.files.html,
                "smoke": smoke,
                "failures": failures,
                "results": results,
            }
        )
    elif smoke:
        done = ", ".join(name for name in arms or asked.loaded.trial.arms if name not in result.failures)
        untried = left_out(whole.loaded.trial)
        print(
            f"\nOn ten rows {done} went the whole way in {format_seconds(time.perf_counter() - began)}: checked, "
            f"tuned, sampled, scored, reported. Nothing of it is evidence."
            + (f"\nNot tried: {'; '.join(untried)}." if untried else "")
            + f"\nIts report: {result.files.html}"
        )
    else:
        print(f"\n{result.files.terminal}\n\nThe report: {result.files.html}")
    for name, error in result.failures.items():
        log(f"arm {name} failed: {error}")
    if result.failures:
        raise typer.Exit(2)


def _write_task(trial: Path, *, out: Path | None, overrides: list[str] | None, on: str, to: Path | None) -> None:
    """Write the SkyPilot task of a trial."""
    from finetrial.api.skypilot import write_skypilot
    from finetrial.trial.folder import open_trial

    if on != SKYPILOT or to is None:
        raise UserError(
            "--on skypilot and --write FILE belong together", fix="SkyPilot's own `sky launch FILE` starts it."
        )
    if overrides:
        raise UserError(
            "--set is not written into a SkyPilot task", fix="Change the trial file, or the task's run."
        )
    loaded, folder = open_trial(trial, out=out)
    write_skypilot(loaded, folder, trial_file=trial, to=to)
    print(to)


@app.command()
def run(
    trial: TrialArgument,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    deterministic: DeterministicOption = False,
    even_if_it_does_not_fit: Annotated[
        bool, typer.Option("--even-if-it-does-not-fit", help="Start although the plan says that it cannot fit.")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Take the whole path on ten rows first, in a minute, in a folder of its own."),
    ] = False,
    early: Annotated[
        bool,
        typer.Option("--early", help="Tune on shares of the rows first, and drop the arms that cannot win."),
    ] = False,
    on: OnOption = "here",
    together: TogetherOption = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="With --on skypilot: write the task there and run nothing.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the data, tune every arm, sample, score and write the report.

    Started again, it skips what is done and continues what is not.
    """
    if on == SKYPILOT or write is not None:
        _write_task(trial, out=out, overrides=overrides, on=on, to=write)
        return
    run_and_show(
        trial,
        out=out,
        overrides=overrides,
        arm=arm,
        as_json=as_json,
        deterministic=deterministic,
        even_if_it_does_not_fit=even_if_it_does_not_fit,
        smoke=smoke,
        early=early,
        on=on,
        together=together,
    )
