"""`finetrial export`: write an arm, or a GGUF file, as a Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, plain, print_json
from finetrial.errors import UserError, unknown_name
from finetrial.store.gguf import is_gguf, read_gguf
from finetrial.units import format_bytes, format_count

if TYPE_CHECKING:
    from finetrial.models.export_folder import Exported

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_PRECISIONS = ("float32", "bfloat16", "float16")


@app.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(help="The trial file or folder, or a .gguf file.", metavar="SOURCE"),
    ],
    arm: Annotated[str | None, typer.Argument(help="The trial's arm to write.", metavar="ARM")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The new model's folder.", metavar="DIR")],
    runs: Annotated[
        Path | None, typer.Option("--folder", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, bfloat16 or float16; the arm's unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an arm as one merged model, with its tokenizer, that transformers alone can load (as the adapter where
    it cannot be merged); or the model of a GGUF file, dequantised."""
    if precision is not None and precision not in _PRECISIONS:
        raise unknown_name("precision", precision, _PRECISIONS)
    if is_gguf(source):
        if arm is not None or runs is not None:
            raise UserError(f"{source} is a model, not a trial: it has no arms", got=arm or "--folder")
        _export_gguf(source, out=out, precision=precision or "float32", as_json=as_json)
        return
    from finetrial.store.records import Measured, read_object
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(source, out=runs)
    arms = loaded.trial.arms
    if arm is None:
        raise UserError("no arm is named", expected="one of " + ", ".join(arms))
    if arm not in arms:
        raise unknown_name("arm", arm, arms)
    chosen, own = arms[arm], folder.arm(arm)
    if chosen.tuned and not any(own.glob("*.safetensors")):
        raise UserError(f"arm {arm} is not tuned yet", got=f"no weights in {own}", fix="`finetrial tune` tunes it.")
    if precision is None and chosen.tuned and folder.measured(arm).exists():
        precision = read_object(folder.measured(arm), Measured).precision
    from finetrial.models.device import DTYPES
    from finetrial.models.export_folder import export_arm, export_tuned  # the trial is sound: this loads torch

    base, dtype, trusted = (
        loaded.base_source(arm),
        DTYPES[precision or "float32"],
        loaded.trial.trust_remote_code,
    )
    if chosen.tuned:
        from finetrial.methods.torch_half import Where

        where = Where(base=base, dtype=dtype, trust_remote_code=trusted)
        written = export_tuned(chosen.tuning, where, folder=own, out=out)
    else:
        written = export_arm(
            base,
            out=out,
            adapter=loaded.path(chosen.adapter) if chosen.adapter else None,
            model=loaded.model_source(chosen.model) if chosen.model else None,
            dtype=dtype,
            trust_remote_code=trusted,
        )
    if as_json:
        print_json(written)
        return
    _print(arm, written)


def _export_gguf(source: Path, *, out: Path, precision: str, as_json: bool) -> None:
    header = read_gguf(source)  # before torch loads: the file may be none
    from finetrial.models.device import DTYPES
    from finetrial.models.export_folder import export_model

    written = export_model(str(source), out=out, dtype=DTYPES[precision])
    if as_json:
        print_json(plain(written) | {"base_format": header.description})
        return
    _print(f"{source.name} ({header.description})", written)


def _print(name: str, written: Exported) -> None:
    print(f"{name}: {format_count(written.parameters)} parameters, {format_bytes(written.stored_bytes)}")
    if written.unmerged is None:
        print(f"the model: {written.folder}")
    else:
        print(f"the adapter: {written.folder}")
        print(f"not merged into its base: {written.unmerged}")
