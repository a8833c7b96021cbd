"""`finetrial verify`: recompute a report from its records and hold every file to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finetrial.cli.output import JsonOption, OutOption, print_json
from finetrial.errors import FinetrialError, UserError
from finetrial.reporting.safe_text import plural

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


def _found(
    path: Path, *, out: Path | None, seal: str | None, lock: str | None, run_own_metrics: bool
) -> Verification:
    """What was found of a trial file, a trial's folder or a bundle, which is unpacked for it."""
    from finetrial.api.trial import Trial
    from finetrial.reporting.packed_trial import is_packed, unpacked

    if not is_packed(path):
        return Trial.load(path, folder=out).verify(seal=seal, lock=lock, run_own_metrics=run_own_metrics)
    if out is not None:
        raise UserError(
            "--out goes with a trial file", got=str(path), fix="Leave it out: a bundle is its own folder."
        )
    with unpacked(path) as root:
        return Trial.load(root).verify(seal=seal, lock=lock, run_own_metrics=run_own_metrics)


@app.command()
def verify(
    trials: Annotated[
        list[Path], typer.Argument(help="Trial files, trials' folders, or bundles of trials.", metavar="TRIAL...")
    ],
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
    1 where anything differs. Needs no model. Of several trials each gets one line.
    """
    if len(trials) > 1 and (out or seal or lock):
        raise UserError("--out, --seal and --lock are of one trial", got=f"{len(trials)} trials")
    given: dict[str, Any] = {"out": out, "seal": seal, "lock": lock, "run_own_metrics": run_own_metrics}
    if len(trials) == 1:
        found = _found(trials[0], **given)
        if as_json:
            print_json({"folder": trials[0], "verified": found.holds, "results": found})
        else:
            _print_one(found, trials[0])
        holds = found.holds
    else:
        lines = [_one_of_several(path, **given) for path in trials]
        holds = all(line["verified"] for line in lines)
        if as_json:
            print_json({"verified": holds, "trials": lines})
        else:
            print("\n".join(f"{line['trial']}: {line['said']}" for line in lines))
    if not holds:
        raise typer.Exit(1)


def _print_one(found: Verification, path: Path) -> None:
    print(_first_line(found, path))
    for row in found.mismatches[:_MOST_SHOWN]:
        print(f"  {row.what}\n    reported    {_line(row.reported)}\n    recomputed  {_line(row.recomputed)}")
    if len(found.mismatches) > _MOST_SHOWN:
        print(f"  and {len(found.mismatches) - _MOST_SHOWN} more; --json lists all")
    if found.given:
        print(f"Given, not recomputed: {found.given} scores.")
    for text in found.not_checked:
        print(f"Not checked: {text}.")


def _one_of_several(path: Path, **given: Any) -> dict[str, Any]:
    """What is said of one trial among several; one that cannot be read does not stop the others."""
    try:
        found = _found(path, **given)
    except FinetrialError as error:
        return {"trial": path, "verified": False, "said": f"cannot be verified: {error.what}"}
    said = _first_line(found, path)
    if found.mismatches:
        said += f" First: {found.mismatches[0].what}."
    if found.not_checked:
        said += f" {plural(len(found.not_checked), 'thing')} not checked."
    return {"trial": path, "verified": found.holds, "said": said}
