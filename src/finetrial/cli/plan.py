"""`finetrial plan`: what a trial takes before it runs, what fits, and what would make a misfit fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import ArmOption, JsonOption, OutOption, SetOption, TrialArgument, log, print_json
from finetrial.errors import MissingPackage
from finetrial.units import parse_bytes

if TYPE_CHECKING:
    from finetrial.trial.trial_file import LoadedTrial
    from finetrial.workflow.trial_plan import Measures

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def plan(
    trial: TrialArgument,
    device: Annotated[
        str | None,
        typer.Option(help="A card by name (rtx-4090), or here: this machine, measured in 10 s.", metavar="NAME"),
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Of the device: 24GiB.", metavar="BYTES")] = None,
    devices: Annotated[int, typer.Option("--devices", min=1, help="That tune an arm together.", metavar="N")] = 1,
    hours: Annotated[float | None, typer.Option(min=0, help="The run may take.", metavar="HOURS")] = None,
    out: OutOption = None,
    overrides: SetOption = None,
    arm: ArmOption = None,
    traced: Annotated[
        bool,
        typer.Option("--traced", help="Follow each arm's own step too, without numbers: needs torch, a CPU."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Memory, time, price, disk and number of prompts of a trial, for each arm and in all, before it runs.

    Nothing is tuned. Exit status 1 where it does not fit.
    """
    from finetrial.cli.plan_view import print_plan
    from finetrial.planning.machine import HERE
    from finetrial.store.plan_record import plan_content
    from finetrial.trial.folder import open_trial
    from finetrial.workflow.trial_plan import plan_request, plan_trial

    loaded, folder = open_trial(trial, out=out, overrides=overrides or ())
    for override in loaded.remembered:
        log(f"settings: {override}, as --set gave it before (set it anew, or change the file)")
    request = plan_request(
        loaded,
        folder,
        device=device,
        memory_bytes=None if memory is None else parse_bytes(memory, what="--memory"),
        hours=hours,
        arms=None if arm is None else tuple(arm),
        devices=devices,
    )
    measures = (
        _measures(loaded, device_name=request.device.name)
        if device is not None and device.lower() == HERE
        else None
    )
    found = plan_trial(request, measures=measures, only_left=True)
    if traced:
        from finetrial.workflow.traced_plan import with_traced_memory

        found = with_traced_memory(request, found)
    if as_json:
        print_json(plan_content(found))
    else:
        print_plan(found)
    if found.fits is False:
        raise typer.Exit(1)


def _measures(loaded: LoadedTrial, *, device_name: str) -> Measures:
    """Who measures this machine; needs torch."""
    try:
        from finetrial.workflow.calibration import Calibration
        from finetrial.workflow.resolve_trial import Tokenizers
    except ImportError as error:
        raise MissingPackage(error.name or "torch", extra="tune", purpose="measuring this machine") from None
    return Calibration(loaded, device_name=device_name, tokenizer_of=Tokenizers(loaded).of)
