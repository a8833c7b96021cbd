"""`finetrial demo`: a whole trial in minutes on the embedded starter; no GPU, hub account or data."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, SetOption, log
from finetrial.cli.run import run_and_show

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class DemoTask(StrEnum):
    """What the demo is about."""

    TLDR = "tldr"
    VERSE = "verse"


@app.command()
def demo(
    task: Annotated[DemoTask, typer.Option("--task", help="Advice posts to TL;DR, or verse.")] = DemoTask.TLDR,
    out: Annotated[Path, typer.Option("--out", help="Where the trial is written.")] = Path("finetrial-demo"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a whole trial on the embedded starter: base, full and LoRA, from data to a report.

    The folder it leaves is a trial like any other; started again, it skips what is done.
    """
    from finetrial.starter.corpus import write_demo

    trial = write_demo(out, task=task.value)
    log(f"The trial file: {trial}. Its model and texts are finetrial's own; the texts are written by a program.")
    run_and_show(trial, out=out / f"run-{task.value}", overrides=overrides, arm=None, as_json=as_json)
    log(f"Next: read the report; grade blind with `finetrial grade {out / f'run-{task.value}'}`.")
