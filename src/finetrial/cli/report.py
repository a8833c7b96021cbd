"""`finetrial report`: write the report of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finetrial.cli.output import JsonOption, print_json
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


def _packed(folder: TrialFolder, bundle: Path, *, open_grades: bool, texts: bool) -> tuple[str, ...]:
    from finetrial.reporting.packed_trial import pack_trial

    return pack_trial(folder, bundle, open_grades=open_grades, texts=texts)


def _compare(trials: list[Path], *, out: Path | None, as_json: bool) -> None:
    """Set several trials beside each other, on the terminal and, where a folder is named, as a report."""
    from finetrial.reporting.render.results_json import block_object
    from finetrial.reporting.render.terminal import render_terminal
    from finetrial.reporting.renderers import RENDERERS
    from finetrial.reporting.several_trials import compare_trials, read_trials
    from finetrial.store.files import atomic_text

    document = compare_trials(read_trials(trials))
    written = [] if out is None else [out / renderer.file for renderer in RENDERERS]
    for path, renderer in zip(written, RENDERERS, strict=False):
        atomic_text(path, renderer.render(document))
    if as_json:
        blocks = {one.id: list(map(block_object, one.blocks)) for one in (document.lead, *document.sections)}
        print_json({"trials": trials, "files": written, "sections": blocks})
        return
    print(render_terminal(document))
    for path in written:
        print(path)


@app.command()
def report(
    trials: Annotated[
        list[Path], typer.Argument(help="The trial file or folder; several are compared.", metavar="TRIAL...")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The trial's folder, as for run; of several, where their report is written."),
    ] = None,
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

    Needs no model. The same records give the same files. Several trials, or bundles of them, are set beside each
    other from their reports.
    """
    from finetrial.api.trial import Trial

    if len(trials) > 1:
        if open_grades or figure or no_texts or bundle:
            raise UserError(
                "--open, --figure, --no-texts and --bundle are of one trial", got=f"{len(trials)} trials"
            )
        _compare(trials, out=out, as_json=as_json)
        return
    asked = Trial.load(trials[0], folder=out)
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
    packed = None if bundle is None else _packed(result.folder, bundle, open_grades=open_grades, texts=not no_texts)
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
