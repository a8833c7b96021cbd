"""`finetrial report`: write the report of a trial."""

from __future__ import annotations

from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, OutOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def report(
    trial: TrialArgument,
    out: OutOption = None,
    open_grades: Annotated[
        bool, typer.Option("--open", help="Show the prompts set aside for blind grading as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a trial from its records: HTML, Markdown, LaTeX, figures and results.json.

    Needs no model. The same records give the same files.
    """
    from finetrial.api.trial import Trial

    result = Trial.load(trial, folder=out).report(open_grades=open_grades)
    files = result.files
    assert files is not None
    if as_json:
        from finetrial.reporting.results import read_results

        results = read_results(result.folder)
        said = {"folder": result.folder.root, "report": files.html, "files": files.all, "lock": files.digest}
        print_json({**said, "results": results})
        return
    print(files.terminal)
    print()
    for path in files.all:
        print(path)
    if files.digest is not None:
        print(f"\nDigest of samples and measurements, for `finetrial verify --lock`:\n  {files.digest}")
