"""`finetrial check`: read the data as training would and show what is trained."""

from __future__ import annotations

import typer

from finetrial.cli.output import JsonOption, SetOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(trial: TrialArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Read the data as training would: show one example with its trained tokens marked and one prompt as each arm
    is shown it, what every `auto` chose, what is kept, truncated and dropped, and what is wrong with them.

    Everything that `run` would refuse is refused here, all of it at once: metrics, own functions (called once on a
    held-out row), models, adapters, targets and prompts that do not fit. Nothing is written but the token counts,
    which `finetrial plan` reads, in the user's cache. Exit status 2 when something must be mended.
    """
    from finetrial.api.trial import Trial

    found = Trial.load(trial, overrides=overrides or ()).check()
    if as_json:
        print_json(found.as_dict())
        if found.error is not None:
            raise typer.Exit(found.error.exit_status)
        return
    from rich.console import Console

    from finetrial.api.check_view import show_check

    show_check(Console(highlight=False, soft_wrap=True), found)
    if found.error is not None:
        raise found.error
