"""`finetrial push`: send an arm's model with its card, or the report as a static Space, to the Hugging Face hub."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, TrialArgument, print_json
from finetrial.errors import UserError
from finetrial.units import format_bytes

if TYPE_CHECKING:
    from finetrial.api.hub_push import Prepared

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def push(
    trial: TrialArgument,
    arm: Annotated[str | None, typer.Argument(help="The arm whose model is sent.", metavar="ARM")] = None,
    *,
    to: Annotated[str, typer.Option("--to", help="Where to, on the hub.", metavar="OWNER/NAME")],
    is_report: Annotated[
        bool, typer.Option("--report", help="Send the report, as a static Space, and no model.")
    ] = False,
    merged: Annotated[bool, typer.Option("--merged", help="The whole model, where an adapter is enough.")] = False,
    public: Annotated[
        bool, typer.Option("--public", help="A new repository is private unless this is said.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all of it into this new folder, too.", metavar="DIR")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--folder", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send it. Without, all is shown and nothing is sent.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what would go to the Hugging Face hub, and send it with --yes: an arm's adapter or model with its card,
    or the report as a static Space.

    The card's numbers are those of results.json. No prompt and no answer goes with a model; a report shows them.
    """
    from finetrial.api.hub_push import check_hub_name, check_may_push, prepare_model, prepare_report
    from finetrial.api.hub_push import push as send
    from finetrial.trial.folder import open_trial

    check_hub_name(to)
    if is_report and (arm is not None or merged):
        raise UserError("a report goes without a model", got=arm or "--merged", fix="Push the model by itself.")
    if out is not None and out.exists():
        raise UserError(f"there is something at {out}", fix="Name another --out, or remove it.")
    if yes:
        check_may_push()  # before minutes of writing
    loaded, folder = open_trial(trial, out=runs)
    scratch = Path(tempfile.mkdtemp(prefix="finetrial-push-"))
    place = scratch / "sent"
    try:
        if is_report:
            prepared = prepare_report(loaded, folder, to=to, out=place)
        else:
            prepared = prepare_model(loaded, folder, arm=arm, to=to, merged=merged, out=place)
        if out is not None:
            shutil.copytree(place, out)
        address = send(prepared, private=not public) if yes else None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if as_json:
        facts = {"to": to, "kind": prepared.kind, "private": not public, "files": prepared.files}
        print_json(
            facts | {"card": prepared.card, "shows_texts": prepared.shows_texts, "sent": address, "out": out}
        )
        return
    _print(prepared, private=not public, address=address)
    if out is not None:
        print(f"written: {out}")


def _print(prepared: Prepared, *, private: bool, address: str | None) -> None:
    whose = "private" if private else "public"
    print(f"{whose} {prepared.kind} {prepared.to}")
    for name, size in prepared.files.items():
        print(f"  {name:<40} {format_bytes(size, digits=3):>9}")
    print(f"  {f'{len(prepared.files)} files':<40} {format_bytes(sum(prepared.files.values()), digits=3):>9}")
    print("\nREADME.md")
    for line in prepared.card.splitlines():
        print(f"  | {line}".rstrip())
    if prepared.shows_texts:
        print("\nThe report shows prompts and answers of the trial; `finetrial report --no-texts` leaves them out.")
    print(f"\nsent: {address}" if address else "\nNothing was sent. The same command with --yes sends it.")
