"""`finetrial export`: write an arm, or a GGUF file, in the form in which it is deployed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, plain, print_json
from finetrial.errors import UserError, unknown_name
from finetrial.store.gguf import GGUF_SUFFIX, is_gguf, read_gguf
from finetrial.units import format_bytes, format_count

if TYPE_CHECKING:
    from finetrial.models.export_folder import Exported
    from finetrial.store.layout import TrialFolder
    from finetrial.trial.trial_file import LoadedTrial

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_PRECISIONS = ("float32", "bfloat16", "float16")
_FORMS = ("model", "adapter", "ollama", "gguf")


@app.command()
def export(
    source: Annotated[
        Path,
        typer.Argument(help="The trial file or folder, or a .gguf file.", metavar="SOURCE"),
    ],
    arm: Annotated[str | None, typer.Argument(help="The trial's arm to write.", metavar="ARM")] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="The new model's folder, or .gguf file.", metavar="PATH")],
    form: Annotated[
        str, typer.Option("--as", help="model (merged), adapter, ollama or gguf.", metavar="FORM")
    ] = "model",
    runs: Annotated[
        Path | None, typer.Option("--folder", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", help="float32, bfloat16 or float16; the arm's unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write an arm as one merged model, with its tokenizer, that transformers alone can load (as the adapter where
    it cannot be merged); or the model of a GGUF file, dequantised.

    --as adapter writes what was tuned beside its base, --as ollama the model with a Modelfile, --as gguf a GGUF
    file, by llama.cpp's own converter where it is at hand.
    """
    if precision is not None and precision not in _PRECISIONS:
        raise unknown_name("precision", precision, _PRECISIONS)
    if form not in _FORMS:
        raise unknown_name("form to export", form, _FORMS)
    if is_gguf(source):
        if arm is not None or runs is not None or form != "model":
            raise UserError(f"{source} is a model, not a trial: it has no arms", got=arm or "--folder or --as")
        _export_gguf(source, out=out, precision=precision or "float32", as_json=as_json)
        return
    from finetrial.api.exported_arm import exportable_arm, tuned_precision, write_arm
    from finetrial.trial.folder import open_trial

    loaded, folder = open_trial(source, out=runs)
    arm = exportable_arm(loaded, folder, arm)
    precision = precision or tuned_precision(loaded, folder, arm)
    if form == "gguf":
        file = _write_gguf(loaded, folder, arm, out=out, precision=precision)
        facts = {"file": str(file), "stored_bytes": file.stat().st_size}
        print_json(facts) if as_json else print(f"{arm}: {file}, {format_bytes(file.stat().st_size)}")
        return
    written = write_arm(loaded, folder, arm, out=out, precision=precision, is_adapter=form == "adapter")
    if form == "ollama":
        _write_modelfile(loaded, folder, arm, written=written)
    if as_json:
        print_json(written)
        return
    _print(arm, written)
    if form == "ollama":
        print(f"for Ollama: cd {written.folder} && ollama create {arm} -f Modelfile")


def _write_gguf(loaded: LoadedTrial, folder: TrialFolder, arm: str, *, out: Path, precision: str) -> Path:
    """The arm as a GGUF file: merged into a folder that is removed again, then converted."""
    from finetrial.api.exported_arm import write_arm
    from finetrial.models.deployment_files import find_converter, write_gguf

    if out.suffix != GGUF_SUFFIX or out.exists():
        raise UserError("--out is to be a new .gguf file", got=str(out), fix=f"Give --out {arm}{GGUF_SUFFIX}.")
    converter = find_converter()
    out.parent.mkdir(parents=True, exist_ok=True)
    merged = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{arm}-"))
    try:
        written = write_arm(loaded, folder, arm, out=merged, precision=precision)
        if written.unmerged is not None:
            raise UserError(f"arm {arm} cannot be merged, and a GGUF file holds one model", got=written.unmerged)
        return write_gguf(merged, out=out, precision=precision, converter=converter)
    finally:
        shutil.rmtree(merged, ignore_errors=True)


def _write_modelfile(loaded: LoadedTrial, folder: TrialFolder, arm: str, *, written: Exported) -> None:
    from finetrial.models.deployment_files import modelfile, write_modelfile
    from finetrial.store.manifest import Manifest

    if written.unmerged is not None:
        raise UserError(f"arm {arm} cannot be merged, and a Modelfile names one model", got=written.unmerged)
    chose = (Manifest(folder.manifest).content.get("resolved") or {}).get(arm)
    if chose is None:
        raise UserError(
            f"how arm {arm} is shown a prompt is not known yet", fix="`finetrial run` finds out, and notes it."
        )
    trial = loaded.trial
    text = modelfile(
        ".",
        template=trial.template_of(arm),
        chat=bool(chose["chat"]),
        system=trial.system_of(arm) if chose["chat"] else None,
        sampling=trial.sampling,
        chose=chose,
    )
    write_modelfile(text, folder=written.folder)


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
