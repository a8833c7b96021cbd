"""`finetrial import`: make a trial file of another tool's configuration, with that run as an arm."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command("import")
def import_config(
    config: Annotated[
        Path,
        typer.Argument(
            help="A configuration of LLaMA-Factory, Axolotl, TRL, torchtune or MLX; an Unsloth notebook.",
            metavar="CONFIG",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", help="The model, where the configuration names none.", metavar="MODEL")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The data, where it names none that are here.", metavar="FILE")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The trial file; <name of CONFIG>-trial.yaml here unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a trial file of a tuning run of another tool: that run as an arm beside base and prompted.

    Every key that could not be carried over is named, with the reason, here and in the file. Outputs and grades
    from elsewhere need no trial: `finetrial score FILE`, `finetrial grade --import`.
    """
    from finetrial.imports.read_config import read_config, settle, with_choices
    from finetrial.imports.trial_text import trial_text
    from finetrial.store.files import atomic_text
    from finetrial.trial.draft_file import name_from
    from finetrial.trial.trial_file import parse_trial

    name = name_from(config.stem)
    if out is None or out.is_dir():
        out = (out or Path()) / f"{name}-trial.yaml"
    else:
        name = name_from(out.stem)
    if out.exists() and not force:
        raise UserError(f"{out} is there already", fix="Name another with --out, or replace it with --force.")
    run = read_config(config)
    here = None if data is None or not Path(data).expanduser().exists() else str(Path(data).expanduser().resolve())
    with_choices(run, model=model, data=here or data, near=(config.parent.resolve(), Path.cwd()))
    settled = settle(run, base=Path.cwd())
    text = trial_text(settled, name=name, config=config.name, target=out.parent)
    parse_trial(text, origin=str(out))  # what we write, we can read
    atomic_text(out, text)
    given = run.given
    arm = f"arms.{run.arm_name}"
    carried = {
        theirs: f"{arm}{ours[3:]}" if ours.startswith("arm.") else ours for theirs, ours in given.carried.items()
    }
    if as_json:
        print_json(
            {
                "file": out,
                "tool": run.tool,
                "arm": run.arm_name,
                "rows": settled.rows,
                "carried": carried,
                "left": given.left,
                "notes": run.notes,
            }
        )
        return
    print(f"{out}: a run of {run.tool} as arm {run.arm_name}, beside base and prompted")
    _print(f"carried over: {', '.join(f'{theirs} -> {ours}' for theirs, ours in carried.items())}")
    for why, keys in given.grouped():
        _print(f"not carried: {', '.join(keys)} ({why})")
    for note in run.notes:
        _print(f"note: {note}")
    print(f"Next: {shlex.join(['finetrial', 'check', str(out)])}")


def _print(text: str) -> None:
    print(textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
