"""What is stored for a task, written as one word: `full`, `matrices:q,v`, `lora:4:q,v`, `lora:1,2,4:q,v`."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.footprint.adapters import Full, Matrices, Method
from finetrial.footprint.beside import Lora

FORMS = "full, matrices:q,v, lora:4:q,v, or several ranks: lora:1,2,4:q,v"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A method with the word that names it."""

    label: str
    method: Method


def parse_spec(text: str) -> tuple[Spec, ...]:
    """The methods of one word, one for each rank. Raises UserError that shows the forms."""
    kind, *parts = text.strip().split(":")
    if kind not in ("full", "matrices", "lora"):
        raise unknown_name("method", kind, ("full", "matrices", "lora"))
    if len(parts) != {"full": 0, "matrices": 1, "lora": 2}[kind]:
        raise UserError(f"{text!r} is no method", expected=FORMS)
    if kind == "full":
        return (Spec(label="full", method=Full()),)
    targets = _names(parts[-1], text=text)
    if kind == "matrices":
        return (Spec(label=f"matrices:{','.join(targets)}", method=Matrices(targets=targets)),)
    specs = []
    for rank in _names(parts[0], text=text):
        if not rank.isdecimal():
            raise UserError(f"the rank in {text!r} is no whole number", got=repr(rank), expected=FORMS)
        label = f"lora:{int(rank)}:{','.join(targets)}"
        specs.append(Spec(label=label, method=Lora(rank=int(rank), targets=targets)))
    return tuple(specs)


def _names(part: str, *, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in part.split(","))
    if not all(names):
        raise UserError(f"{text!r} is no method", got="an empty name between commas", expected=FORMS)
    return names
