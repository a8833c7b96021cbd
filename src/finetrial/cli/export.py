"""`finetrial export`: write an arm as a merged Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, TrialArgument, print_json
from finetrial.errors import UserError, unknown_name
from finetrial.units import format_bytes, format_count

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_PRECISIONS = ("float32", "bfloat16", "float16")


@app.command()
def export(
    trial: TrialArgument,
    arm: Annotated[str, typer.Argument(help="The arm to write.", metavar="ARM")],
    out: Annotated[Path, typer.Option("--out", help="The new model's folder.", metavar="DIR")],
    runs: Annotated[
        Path | None, typer.Option("--folder", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, bfloat16 or float16; the arm's unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an arm as one merged model, with its tokenizer, that transformers alone can load."""
    from finetrial.store.records import Measured, read_object
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(trial, out=runs)
    arms = loaded.trial.arms
    if arm not in arms:
        raise unknown_name("arm", arm, arms)
    if precision is not None and precision not in _PRECISIONS:
        raise unknown_name("precision", precision, _PRECISIONS)
    chosen, own = arms[arm], folder.arm(arm)
    if chosen.tuned and not any(own.glob("*.safetensors")):
        raise UserError(f"arm {arm} is not tuned yet", got=f"no weights in {own}", fix="`finetrial tune` tunes it.")
    if precision is None and chosen.tuned and folder.measured(arm).exists():
        precision = read_object(folder.measured(arm), Measured).precision
    from finetrial.engine.device import DTYPES
    from finetrial.engine.export import export_arm  # after the trial is known to be sound: this loads torch

    written = export_arm(
        loaded.model_source(loaded.trial.model),
        out=out,
        folder=own if chosen.tuned else None,
        adapter=loaded.path(chosen.adapter) if chosen.adapter else None,
        model=loaded.model_source(chosen.model) if chosen.model else None,
        dtype=DTYPES[precision or "float32"],
        trust_remote_code=loaded.trial.trust_remote_code,
    )
    if as_json:
        print_json(written)
        return
    print(f"{arm}: {format_count(written.parameters)} parameters, {format_bytes(written.stored_bytes)}")
    print(f"the model: {written.folder}")
