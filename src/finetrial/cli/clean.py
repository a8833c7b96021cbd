"""`finetrial clean`: remove what changed settings displaced."""

from __future__ import annotations

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def clean(trial: TrialArgument, out: OutOption = None, as_json: JsonOption = False) -> None:
    """Remove the weights and samples in kept/, which earlier settings made, and say how many bytes that were.

    What stands in the trial's folder now stays. A return to an earlier setting then tunes and samples anew.
    """
    from finetrial.api.trial import Trial
    from finetrial.units import format_bytes

    done = Trial.load(trial, folder=out).clean()
    if as_json:
        print_json(done)
    elif not done.removed_bytes:
        print(f"nothing is kept in {done.folder}")
    else:
        print(f"removed {format_bytes(done.removed_bytes)} of earlier settings: {', '.join(done.removed)}")
