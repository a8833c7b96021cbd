"""`finetrial report`: write the report of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json
from finetrial.errors import UserError
from finetrial.reporting.safe_text import plural
from finetrial.units import format_bytes

if TYPE_CHECKING:
    from finetrial.store.layout import TrialFolder

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


def _arm_and_prompt(text: str) -> tuple[str, int]:
    """lora:4 as the arm lora and prompt 4."""
    arm, _, number = text.rpartition(":")
    if not (arm and number.isascii() and number.isdigit()):
        raise UserError(
            "--figure names an arm and a prompt",
            got=text,
            expected="ARM:PROMPT",
            fix="For example --figure lora:4.",
        )
    return arm, int(number)


def _packed(folder: TrialFolder, bundle: Path, *, open_grades: bool) -> tuple[str, ...]:
    from finetrial.reporting.packed_trial import pack_trial

    return pack_trial(folder, bundle, open_grades=open_grades)


@app.command()
def report(
    trial: TrialArgument,
    out: OutOption = None,
    open_grades: Annotated[
        bool, typer.Option("--open", help="Show the prompts set aside for blind grading as well.")
    ] = False,
    figure: Annotated[
        list[str] | None,
        typer.Option(
            "--figure",
            help="Print an arm's answers to one prompt as a LaTeX figure instead (may be repeated).",
            metavar="ARM:PROMPT",
        ),
    ] = None,
    no_texts: Annotated[
        bool,
        typer.Option("--no-texts", help="Leave prompts, answers and references out; lengths and hashes stay."),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="Pack records and report as well, without weights.", metavar="FILE.zip"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a trial from its records: HTML, Markdown, LaTeX, figures and results.json.

    Needs no model. The same records give the same files.
    """
    from finetrial.api.trial import Trial

    asked = Trial.load(trial, folder=out)
    if no_texts and figure:
        raise UserError(
            "a figure of a transcript is its texts", got="--figure with --no-texts", fix="Leave out one."
        )
    if figure:
        drawn = {one: asked.transcript_figure(*_arm_and_prompt(one), open_grades=open_grades) for one in figure}
        if as_json:
            print_json({"folder": asked.folder.root, "figures": drawn})
        else:
            print("\n".join(drawn.values()), end="")
        return
    result = asked.report(open_grades=open_grades, texts=not no_texts)
    files = result.files
    assert files is not None
    packed = None if bundle is None else _packed(result.folder, bundle, open_grades=open_grades)
    if as_json:
        from finetrial.reporting.results import read_results

        results = read_results(result.folder)
        said = {"folder": result.folder.root, "report": files.html, "files": files.all, "lock": files.digest}
        said |= {} if packed is None else {"bundle": bundle, "packed": packed}
        print_json({**said, "results": results})
        return
    print(files.terminal)
    print()
    for path in files.all:
        print(path)
    if bundle is not None and packed is not None:
        print(f"{bundle}: {plural(len(packed), 'file')}, {format_bytes(bundle.stat().st_size)}; no weights")
    if files.digest is not None:
        print(f"\nDigest of samples and measurements, for `finetrial verify --lock`:\n  {files.digest}")
