"""`finetrial verify`: recompute every number of a report from its records."""

from __future__ import annotations

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

_MOST_SHOWN = 20
_WIDTH = 64  # of a value: a SHA-256, and what 80 columns leave


def _line(value: str | None) -> str:
    """A value on one line; --json has it longer."""
    if value is None:
        return "(nothing)"
    return value if len(value) <= _WIDTH else value[: _WIDTH - 1] + "…"


@app.command()
def verify(
    trial: TrialArgument,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute every number of a report from its records and compare.

    The samples are scored anew, every file is held against the hash noted when it was written, and results.json
    and the pages, figures apart, against what the records give. Exit status 1 where anything differs. Needs no
    model.
    """
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out)
    found, root = asked.verify(), asked.folder.root
    if as_json:
        print_json({"folder": root, "verified": found.holds, "results": found})
    else:
        agreed = f"{found.numbers} numbers, {found.scores} scores and {found.files} files"
        if found.holds:
            print(f"Verified: {agreed} agree with the records of {root}.")
        else:
            many = "s" * (len(found.mismatches) != 1)
            print(f"Does not verify: {len(found.mismatches)} difference{many}; {agreed} agree.")
        for row in found.mismatches[:_MOST_SHOWN]:
            print(f"  {row.what}\n    reported    {_line(row.reported)}\n    recomputed  {_line(row.recomputed)}")
        if len(found.mismatches) > _MOST_SHOWN:
            print(f"  and {len(found.mismatches) - _MOST_SHOWN} more; --json lists all")
        if found.given:
            print(f"Given, not recomputed: {found.given} scores from elsewhere.")
        for text in found.not_checked:
            print(f"Not checked: {text}.")
    if not found.holds:
        raise typer.Exit(1)
