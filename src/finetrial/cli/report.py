"""`finetrial report`: write the report of a trial."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, TrialArgument, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def report(
    trial: TrialArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="The trial's folder; runs/<name> beside the file unless given.")
    ] = None,
    open_grades: Annotated[
        bool, typer.Option("--open", help="Show the prompts set aside for blind grading as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a trial from its records: HTML, Markdown, LaTeX, figures and results.json.

    Needs no model. The same records give the same files.
    """
    from finetrial.trial.folder import open_trial

    _, folder = open_trial(trial, out=out)
    from finetrial.evidence.of_trial import trial_findings
    from finetrial.reporting.write import write_report  # after the trial is known to be there: loads matplotlib

    findings = trial_findings(folder, open_grades=open_grades)
    files = write_report(folder, open_grades=open_grades, findings=findings)
    if as_json:
        from finetrial.reporting.results import read_results

        results = read_results(folder)
        print_json({"folder": folder.root, "report": files.html, "files": files.all, "results": results})
        return
    print(files.terminal)
    print()
    for path in files.all:
        print(path)
