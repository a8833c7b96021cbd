"""Write a Python call down, as the manifest records how a run was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

Overrides: TypeAlias = Mapping[str, object] | Sequence[str]


def in_notebook() -> bool:
    """True inside a Jupyter kernel, where output is a cell's and not a terminal's."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def interface() -> Literal["Python", "notebook"]:
    """Where a Python call comes from."""
    return "notebook" if in_notebook() else "Python"


def _arguments(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)


def trial_call(content: Mapping[str, Any], *, folder: Path) -> str:
    """`finetrial.Trial(...)` of a trial file's keys; rows from memory are named as their file in the folder."""
    given = dict(content)
    name = given.pop("trial")
    return f"finetrial.Trial({_arguments({**given, 'name': name, 'folder': str(folder)})})"


def load_call(path: str | Path, *, folder: str | Path | None, overrides: Sequence[str]) -> str:
    """`finetrial.Trial.load(...)`."""
    more = _arguments(
        {"folder": None if folder is None else str(folder), "overrides": list(overrides) if overrides else None}
    )
    return f"finetrial.Trial.load({str(path)!r}{', ' if more else ''}{more})"


def method_call(name: str, **given: Any) -> str:
    """`.run(arms=['lora'])`: a method with the arguments that were given: None, False and `here` were not."""
    plain = {
        key: list(value) if isinstance(value, (list, tuple)) else value
        for key, value in given.items()
        if value is not False and (key, value) != ("on", "here")
    }
    return f".{name}({_arguments(plain)})"


def path_texts(keys: Mapping[str, Any]) -> dict[str, Any]:
    """An arm's keys with paths as texts."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in keys.items()}


def override_texts(overrides: Overrides) -> tuple[str, ...]:
    """Overrides as the command line writes them; JSON is YAML, so every value reads back as it was."""
    if isinstance(overrides, Mapping):
        return tuple(f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items())
    return tuple(overrides)
