"""Write the reference of the command line from the commands themselves."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import typer

from finetrial.cli.main import available, module_name
from site_pages.escaping import code_cell, escaped


def _cell(text: str) -> str:
    return escaped(" ".join(text.split())).replace("|", "\\|")


def _rows(command: Any, context: Any) -> tuple[list[str], list[str]]:
    """The rows of the help's two lists; an argument's name is a word of the usage line, in capitals."""
    arguments, options = [], []
    for parameter in command.get_params(context):
        name, text = parameter.get_help_record(context)
        if "--help" in parameter.opts:
            continue
        if parameter.param_type_name == "argument":
            arguments.append(f"| `{parameter.name.upper()}` | {_cell(text)} |")
        else:
            options.append(f"| {code_cell(name)} | {_cell(text)} |")
    return arguments, options


def _one(command: Any, *, name: str, level: int) -> list[str]:
    context = typer.Context(command, info_name=name)
    lines = [f"{'#' * level} `{name}`", "", *_paragraphs(command.help or ""), ""]
    inner = getattr(command, "commands", None)
    if inner:
        for verb, each in inner.items():
            lines += _one(each, name=f"{name} {verb}", level=level + 1)
        return lines
    arguments, options = _rows(command, context)
    if arguments:
        lines += ["| argument | what it is |", "|---|---|", *arguments, ""]
    if options:
        lines += ["| option | what it does |", "|---|---|", *options, ""]
    return lines


def _paragraphs(text: str) -> list[str]:
    return [escaped(inspect.cleandoc(text))]


def command_reference() -> str:
    """The page: every verb by section, with arguments and options."""
    lines = [
        "# Command line",
        "",
        "Generated from the commands; `finetrial COMMAND --help` says the same. Every command takes `--json`, and"
        " ends with one of [these statuses](exit-codes.md). Numbers may be written `67B`, `4.1T`, `1e24`, `36MiB`,"
        " `24GB`.",
        "",
    ]
    section = None
    for verb, (group, _) in available().items():
        if group != section:
            lines += [f"## {group}", ""]
            section = group
        module = importlib.import_module(module_name(verb))
        lines += _one(typer.main.get_command(module.app), name=f"finetrial {verb}", level=3)
    return "\n".join(lines)
