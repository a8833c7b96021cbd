"""`finetrial metrics`: list every metric that a trial or a file can be scored by."""

from __future__ import annotations

import typer

from finetrial.cli.output import JsonOption, print_json

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def metrics(as_json: JsonOption = False) -> None:
    """List the metrics: their names under `judging` and for `finetrial score --metric`, what each says of a text,
    and how its values are read."""
    import textwrap
    from dataclasses import replace

    from finetrial.metrics.metric_table import listed_metrics

    rows = listed_metrics()
    if as_json:
        print_json({"metrics": rows})
        return
    of_ngrams = [row for row in rows if row.name.removeprefix("rouge").isdigit()]  # one line for nine
    rows = tuple(row for row in rows if row not in of_ngrams[1:])
    width = max(len(row.name) for row in rows)
    for row in rows:
        if row in of_ngrams:
            row = replace(row, about=f"{row.about}; to {of_ngrams[-1].name} the same of runs of words")
        notes = [
            row.about,
            row.scale if row.scale != "as it says" else "",
            f"from {row.package}" if row.package else "",
        ]
        notes.append("needs no reference" if row.needs_references is False else "")
        text = "; ".join(note for note in notes if note)
        lines = textwrap.wrap(text, 78 - width, break_long_words=False, break_on_hyphens=False)
        print(f"{row.name:<{width}}  {lines[0]}")
        for line in lines[1:]:
            print(" " * (width + 2) + line)
    print("\nUnder `judging` of a trial file: `primary` is one of them, `metrics` a list of them.")
