"""The options that the commands of `finetrial footprint` share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from finetrial.errors import UserError
from finetrial.footprint.adapters import Method as Counted

METHOD_HELP = "full, matrices, lora, ia3, vera, or what an installed package adds."


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


def method_of(name: str, *, targets: tuple[str, ...], rank: int | None) -> Counted:
    """What the options ask for; an option that the method does not use is an error, not silence."""
    from finetrial.methods.on_paper import paper_word, paper_words  # with pydantic: --help does without

    word = paper_word(name)
    if "rank" in word.keys and rank is None:
        raise UserError(f"a {word.title} needs a rank", fix="Add --rank 4, say.")
    for option, given in (("rank", rank is not None), ("targets", bool(targets))):
        if given and option not in word.keys:
            takes = [other for other, found in paper_words().items() if option in found.keys]
            raise UserError(
                f"--{option} means nothing with --method {name}", fix=f"Use --method {' or '.join(takes)}."
            )
    return word.make(rank or 0, targets)
