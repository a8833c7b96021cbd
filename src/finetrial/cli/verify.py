"""`finetrial verify`: recompute a report from its records and hold every file to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json

if TYPE_CHECKING:
    from finetrial.reporting.verification import Verification

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_MOST_SHOWN = 20
_WIDTH = 64  # of a value: a SHA-256, and what 80 columns leave


def _line(value: str | None) -> str:
    """A value on one line; --json has it longer."""
    if value is None:
        return "(nothing)"
    return value if len(value) <= _WIDTH else value[: _WIDTH - 1] + "…"


def _first_line(found: Verification, root: Path) -> str:
    """What was shown, in one line: that the folder agrees with itself, and whether a digest vouches for it."""
    agreed = f"{found.numbers} numbers, {found.scores} scores and {found.files} files"
    if not found.holds:
        many = "s" * (len(found.mismatches) != 1)
        return f"Does not verify: {len(found.mismatches)} difference{many}; {agreed} agree."
    vouched = [
        *["trial file, data and prompts are those sealed before sampling"] * found.sealed,
        *["samples, measurements and grades are those locked"] * found.locked,
    ]
    start = (
        f"Consistent and authenticated: {', and '.join(vouched)}" if vouched else "Consistent, not authenticated"
    )
    return f"{start}. {agreed} agree with the records of {root}."


@app.command()
def verify(
    trial: TrialArgument,
    seal: Annotated[
        str | None,
        typer.Option("--seal", help="The digest that `finetrial seal` printed.", metavar="DIGEST"),
    ] = None,
    lock: Annotated[
        str | None,
        typer.Option("--lock", help="The digest that `unblind` or `report` printed.", metavar="DIGEST"),
    ] = None,
    run_own_metrics: Annotated[
        bool, typer.Option("--run-own-metrics", help="Run metrics of your own: code beside the trial.")
    ] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute a report from samples, grades and measurements, and compare every file.

    Scores, diagnostics, figures and pages are made anew, items, pairs and key laid out again, and files held
    against the hashes noted when they were written. What cannot be looked at is listed. Who holds a folder can
    forge all of it consistently: only digests published earlier (--seal, --lock) show that nobody did. Exit status
    1 where anything differs. Needs no model.
    """
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out)
    found, root = asked.verify(seal=seal, lock=lock, run_own_metrics=run_own_metrics), asked.folder.root
    if as_json:
        print_json({"folder": root, "verified": found.holds, "results": found})
    else:
        print(_first_line(found, root))
        for row in found.mismatches[:_MOST_SHOWN]:
            print(f"  {row.what}\n    reported    {_line(row.reported)}\n    recomputed  {_line(row.recomputed)}")
        if len(found.mismatches) > _MOST_SHOWN:
            print(f"  and {len(found.mismatches) - _MOST_SHOWN} more; --json lists all")
        if found.given:
            print(f"Given, not recomputed: {found.given} scores.")
        for text in found.not_checked:
            print(f"Not checked: {text}.")
    if not found.holds:
        raise typer.Exit(1)
