"""The options that commands share, and printing a result as text for people or as one JSON object."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
TrialArgument = Annotated[Path, typer.Argument(help="The trial file, or the trial's folder.", metavar="TRIAL")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value of the trial file: arms.lora.rank=8", metavar="KEY=VALUE"),
]

OutOption = Annotated[
    Path | None, typer.Option("--out", help="The trial's folder; runs/<name> beside the trial file unless given.")
]
DeterministicOption = Annotated[
    bool, typer.Option("--deterministic", help="The same bits every time, on a GPU too; slower there.")
]
ArmOption = Annotated[
    list[str] | None, typer.Option("--arm", help="Only this arm, or all arms of this sweep (may be repeated).")
]

OnOption = Annotated[
    str,
    typer.Option(
        "--on",
        help="Where arms' steps run: here, ray, ray://HOST:PORT, ray://workers=N, slurm, slurm://KEY=VALUE,...; "
        "run: skypilot.",
        metavar="PLACE",
    ),
]

TogetherOption = Annotated[
    bool,
    typer.Option("--together", help="Tune LoRA arms with one base and data order in one pass, side by side."),
]


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses become objects, what is not finite becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if hasattr(value, "item") and hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def print_json(value: Any) -> None:
    """Print one JSON object on standard output; nothing else may be printed there."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=2, allow_nan=False))


def command_line() -> str:
    """The command as it was typed, which the manifest of a trial records."""
    return shlex.join(["finetrial", *sys.argv[1:]])


def log(line: str) -> None:
    """A line for the person watching, on standard error, so that standard output stays the result's."""
    print(line, file=sys.stderr, flush=True)
