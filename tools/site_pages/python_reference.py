"""Write the reference of the Python package and of the records from signatures and docstrings."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import finetrial
from site_pages.escaping import code_cell, escaped

_RECORDS = ("finetrial.store.records", "finetrial.store.manifest")


def _signature(source: ast.FunctionDef, *, name: str) -> str:
    """A function's parameters and answer as they are written, under a name."""
    arguments = ast.unparse(source.args)
    inside = ", ".join(part for part in arguments.split(", ") if part not in ("self", "cls"))
    answer = f" -> {ast.unparse(source.returns)}" if source.returns is not None else ""
    answer = "" if source.name == "__init__" else answer
    text = f"{name}({inside}){answer}"
    if len(text) <= 100:
        return text
    broken = ",\n    ".join(_parts(inside))
    return f"{name}(\n    {broken},\n){answer}"


def _parts(arguments: str) -> list[str]:
    """Arguments, cut at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _doc(text: str | None) -> list[str]:
    cleaned = escaped(inspect.cleandoc(text or ""))
    return [cleaned, ""] if cleaned else []


def _tree(module: ModuleType) -> ast.Module:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8"))


def _function(source: ast.FunctionDef, *, level: int, owner: str) -> list[str]:
    return [f"{'#' * level} `{owner}{source.name}`", "", *_body(source, name=source.name)]


def _body(source: ast.FunctionDef, *, name: str) -> list[str]:
    """A function's signature and docstring."""
    is_property = any("property" in ast.unparse(mark) for mark in source.decorator_list)
    answer = ast.unparse(source.returns) if source.returns is not None else ""
    code = f"{name}: {answer}" if is_property else _signature(source, name=name)
    return ["```python", code, "```", "", *_doc(ast.get_docstring(source))]


def _fields(source: ast.ClassDef, text: str) -> list[str]:
    """A record's fields with the remarks beside them."""
    written, rows = text.splitlines(), []
    for node in source.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and not node.target.id.startswith("_")
        ):
            line = written[(node.end_lineno or node.lineno) - 1]
            remark = line.split("  # ", 1)[1] if "  # " in line else ""
            kind = code_cell(ast.unparse(node.annotation))
            rows.append(f"| {code_cell(node.target.id)} | {kind} | {_remark(remark)} |")
    return ["| field | type | what it holds |", "|---|---|---|", *rows, ""] if rows else []


def _remark(text: str) -> str:
    return escaped(text).replace("|", "\\|")


def _class(source: ast.ClassDef, text: str, *, level: int) -> list[str]:
    lines = [f"{'#' * level} `{source.name}`", "", *_doc(ast.get_docstring(source))]
    lines += _fields(source, text)
    for node in source.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            lines += _body(node, name=source.name)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            lines += _function(node, level=level + 1, owner=f"{source.name}.")
    return lines


def _definition(place: str, name: str, *, level: int, owner: str = "") -> list[str]:
    module = importlib.import_module(place)
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _class(node, Path(str(module.__file__)).read_text(encoding="utf-8"), level=level)
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return _function(node, level=level, owner=owner)
    raise KeyError(f"{place} defines no {name}")


def python_reference() -> str:
    """The page: everything that `import finetrial` gives, module by module."""
    lines = [
        "# Python",
        "",
        "Generated from docstrings. `import finetrial` loads nothing; its parts load when they are used. The"
        " command line calls the same functions, and errors and trial folders are the same. A notebook that goes"
        " the whole way stands in the project at `examples/notebook`.",
        "",
        "## finetrial",
        "",
    ]
    for name in sorted(finetrial.__all__, key=lambda name: (not name[0].isupper(), name)):
        thing: Any = getattr(finetrial, name)
        if name != "__version__" and not inspect.ismodule(thing):
            lines += _definition(thing.__module__, name, level=3, owner="finetrial.")
    for module, place in (("scale", "finetrial.api.scale"), ("footprint", "finetrial.footprint.estimates")):
        found = importlib.import_module(place)
        lines += [f"## finetrial.{module}", "", *_doc(found.__doc__)]
        for node in _tree(found).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                lines += _function(node, level=3, owner=f"{module}.")
    return "\n".join(lines)


def record_reference() -> str:
    """The page: every row of a trial folder's files."""
    lines = [
        "# Records",
        "",
        "Generated from the code that reads and writes them. A trial's folder holds plain files; a file of rows is"
        " JSON Lines, one object a line, and what is absent is null.",
        "",
    ]
    for place in _RECORDS:
        module = importlib.import_module(place)
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and dataclasses.is_dataclass(getattr(module, node.name)):
                lines += [f"## {node.name}", "", *_doc(ast.get_docstring(node)), *_fields(node, text)]
    return "\n".join(lines)
