"""The options that the commands of `finetrial footprint` share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Matrices, Method
from finetrial.footprint.beside import Lora


class MethodName(StrEnum):
    full = "full"
    matrices = "matrices"
    lora = "lora"


class Format(StrEnum):
    text = "text"
    latex = "latex"


ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A name (`finetrial footprint shape` lists them), a folder, config.json or GGUF file, or a hub id.",
        metavar="MODEL",
    ),
]
TargetsOption = Annotated[
    str | None,
    typer.Option("--targets", help="Roles or module names, with commas: q,v; or all-linear", metavar="NAMES"),
]
DtypeOption = Annotated[str, typer.Option("--dtype", help="fp32, bf16, fp16, fp8 or int8.", metavar="TYPE")]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show the derivation.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Of the derivation.")]


def names_of(targets: str | None) -> tuple[str, ...]:
    """The targets that were named with commas."""
    return tuple(name for name in (targets or "").replace(" ", "").split(",") if name)


def method_of(name: MethodName, *, targets: tuple[str, ...], rank: int | None) -> Method:
    """What the options ask for; an option that the method does not use is an error, not silence."""
    if name is MethodName.lora:
        if rank is None:
            raise UserError("a LoRA needs a rank", fix="Add --rank 4, say.")
        return Lora(rank=rank, targets=targets)
    if rank is not None:
        raise UserError(f"--rank means nothing with --method {name}", fix="Use --method lora.")
    if name is MethodName.matrices:
        return Matrices(targets=targets)
    if targets:
        raise UserError("--targets means nothing with --method full", fix="Use --method lora or matrices.")
    return Full()
