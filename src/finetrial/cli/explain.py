"""`finetrial explain`: what a key of the trial file is and changes, with its type, default and an example."""

from __future__ import annotations

import json
import textwrap
from typing import Annotated

import typer

from finetrial.cli.output import JsonOption, plain, print_json
from finetrial.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.command()
def explain(
    key: Annotated[
        str | None, typer.Argument(help="A key such as arms.lora.rank or data.template.", metavar="KEY")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="List every key in a line.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference of all keys.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON Schema for editors.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what a key of the trial file is and changes, with its type, default and an example."""
    from finetrial.trial.key_reference import explain_key, json_schema, key_entries, reference_text

    if sum((key is not None, every, markdown, schema)) != 1:
        raise UserError("say one of KEY, --all, --markdown and --schema", got=key)
    if schema:
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return
    if markdown:
        print(reference_text(), end="")
        return
    entries = key_entries() if key is None else (explain_key(key),)
    if as_json:
        print_json({"keys": [plain(entry) for entry in entries]})
        return
    if every:
        for entry in entries:
            print(textwrap.shorten(f"{entry.path}: {entry.about}", 80, placeholder=" ..."))
        return
    (entry,) = entries
    print(textwrap.fill(f"{key}: {entry.about}", 80, subsequent_indent="  "))
    print(f"  type     {entry.type}")
    print(f"  default  {'must be given' if entry.required else entry.default or 'none'}")
    if entry.methods:
        print(f"  arms     {', '.join(entry.methods)}")
    print(f"  example  {entry.path.rpartition('.')[2]}: {entry.example}")
