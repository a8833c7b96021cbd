"""Read a method written as one word: `full`, `matrices:q,v`, `lora:4:q,v`, `lora:1,2,4:q,v`.

`WORDS` are those that need nothing but this room; `methods.on_paper` has one for every method there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.footprint.adapters import Full, Matrices, Method
from finetrial.footprint.beside import Lora

FORMS = "full, matrices:q,v, ia3:k,v,down, lora:4:q,v, or several ranks: lora:1,2,4:q,v"


@dataclass(frozen=True, slots=True)
class Word:
    """A word for a method: which of `rank` and `targets` stand behind it, and what they make."""

    title: str
    keys: tuple[str, ...]
    make: Callable[[int, tuple[str, ...]], Method]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A method with the word that names it."""

    label: str
    method: Method


WORDS: Mapping[str, Word] = {
    "full": Word("full tuning", (), lambda rank, targets: Full()),
    "matrices": Word("full tuning", ("targets",), lambda rank, targets: Matrices(targets=targets)),
    "lora": Word("LoRA", ("rank", "targets"), lambda rank, targets: Lora(rank=rank, targets=targets)),
}


def parse_spec(text: str, *, words: Mapping[str, Word] = WORDS) -> tuple[Spec, ...]:
    """The methods of one word, one for each rank. Raises UserError that shows the forms."""
    kind, *parts = text.strip().split(":")
    if kind not in words:
        raise unknown_name("method", kind, words)
    word = words[kind]
    if len(parts) != len(word.keys):
        raise UserError(f"{text!r} is not a method", expected=FORMS)
    named = dict(zip(word.keys, (_names(part, text=text) for part in parts), strict=True))
    targets, specs = named.get("targets", ()), []
    for rank in named.get("rank", ("0",)):
        if not rank.isdecimal():
            raise UserError(f"the rank in {text!r} is not a whole number", got=repr(rank), expected=FORMS)
        shown = {"rank": str(int(rank)), "targets": ",".join(targets)}
        label = ":".join((kind, *(shown[key] for key in word.keys)))
        specs.append(Spec(label=label, method=word.make(int(rank), targets)))
    return tuple(specs)


def _names(part: str, *, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in part.split(","))
    if not all(names):
        raise UserError(f"{text!r} is not a method", got="an empty name between commas", expected=FORMS)
    return names
