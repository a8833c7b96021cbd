"""`finetrial init`: write a commented trial file for your data and model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, print_json
from finetrial.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def init(
    data: Annotated[str, typer.Option("--data", help="A .jsonl .csv .parquet or .txt file, or a hub id.")],
    model: Annotated[str, typer.Option("--model", help="A model folder or hub id.")],
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="The column that holds the prompt.", metavar="COLUMN")
    ] = None,
    completion: Annotated[
        str | None, typer.Option("--completion", help="The column that holds the completion.", metavar="COLUMN")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            "--criterion", help="What makes an answer good: people's blind grades then decide.", metavar="TEXT"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; <name of the data>.yaml here unless given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented trial file with the columns that your data have, and metrics that fit their completions."""
    from finetrial.metrics.mean_grade import GRADE
    from finetrial.store.files import atomic_text
    from finetrial.trial.draft_file import draft_trial, name_for, name_from
    from finetrial.trial.trial_file import parse_trial

    name = name_for(data, base=Path.cwd())
    if out is None or out.is_dir():
        out = (out or Path()) / f"{name}.yaml"
    else:
        name = name_from(out.stem)
    if out.exists() and not force:
        raise UserError(f"{out} is there already", fix="Name another with --out, or replace it with --force.")
    draft = draft_trial(
        data,
        model=model,
        base=Path.cwd(),
        target=out.parent,
        name=name,
        prompt=prompt,
        completion=completion,
        criterion=criterion,
    )
    parse_trial(draft.text, origin=str(out))  # what we write, we can read
    atomic_text(out, draft.text)
    if as_json:
        print_json(
            {
                "file": out,
                "format": draft.format,
                "rows": draft.rows,
                "columns": draft.columns,
                "prompt": draft.prompt,
                "completion": draft.completion,
                "group": draft.group,
                "groups": draft.groups,
                "completions": draft.kind,
                "primary": draft.primary,
                "alternatives": [{"prompt": p, "completion": c} for p, c in draft.alternatives],
                "note": draft.note,
                "unicode": draft.every_script,
            }
        )
        return
    unit = "lines" if draft.format == "text" else "rows"
    print(f"{out}: {draft.format}, {draft.rows:,} {unit}, columns {', '.join(draft.columns)}")
    if draft.prompt is not None:
        print(f"  prompt is {draft.prompt!r}, completion is {draft.completion!r}")
    if draft.alternatives:
        pairs = " or ".join(f"{p} -> {c}" for p, c in draft.alternatives)
        print(f"  the names do not say which is which; look at it: it may be {pairs}, which stand beside it")
    if draft.note is not None:
        print(f"  {draft.note}")
    decides = "people's blind grades decide" if draft.primary == GRADE else f"{draft.primary} decides"
    print(f"  completions are {draft.kind}: {decides}")
    if draft.preferences:
        print("  rows are preferences: the chosen answers are the completions, the rejected ones are not used")
    if draft.every_script:
        print("  they hold letters beyond a-z: words of every script count (unicode: true)")
    if draft.group is not None:
        print(f"  group is {draft.group!r}: {draft.groups:,} of them, each kept on one side and counted as one")
    print(f"Next: {shlex.join(['finetrial', 'check', str(out)])}")
