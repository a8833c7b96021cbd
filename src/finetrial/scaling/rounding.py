"""What a worked figure would have been, had a loss been rounded on the way to it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetrial.scaling.derivation import number, significant
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.target_loss import Outcome

_ROUNDED_TO = (3, 4, 6, 10)  # significant digits that a worked exercise prints


@dataclass(frozen=True)
class Rounded:
    """What the tokens would have been, had a loss been rounded on the way."""

    what: str  # which loss
    digits: int
    loss: float
    tokens: float | None  # None: out of reach

    def text(self, exact: float) -> str:
        shown = f"{self.loss:.{self.digits - 1 - math.floor(math.log10(self.loss))}f}"
        if self.tokens is None:
            return f"{shown} is out of reach"
        moved = self.tokens / exact - 1
        if abs(moved) >= 5e-3:
            return f"{shown} gives {self.tokens:.3g} ({moved:+.0%})"
        return f"{shown} gives {number(significant(self.tokens, digits=9))} ({moved:+.1g})"


def roundings(law: ParametricLaw, *, before: Outcome, improve: float, after: Outcome) -> tuple[Rounded, ...]:
    """The tokens from the loss, and from the target, rounded to several digits."""
    share = 1 - improve
    found = []
    for what, loss, factor in (("L", before.loss, share), ("L'", after.loss, 1.0)):
        for digits in _ROUNDED_TO:
            rounded = significant(loss, digits=digits)
            tokens = law.tokens_for_loss(after.params_effective, loss=factor * rounded)
            found.append(Rounded(what, digits, rounded, tokens))
    return tuple(found)


def rounding_remarks(law: ParametricLaw, *, before: Outcome, improve: float, after: Outcome) -> list[str]:
    """Sentences for a worked exercise: where a figure rounded on the way would differ."""
    rows = roundings(law, before=before, improve=improve, after=after)
    exact = number(significant(after.tokens_effective, digits=9))
    lines = [
        f"Values are chained unrounded: {exact} effective tokens. Near the floor every digit of the loss counts, "
        "and a figure rounded on the way differs."
    ]
    for what in ("L", "L'"):
        shown = "; ".join(row.text(after.tokens_effective) for row in rows if row.what == what)
        lines.append(f"From a rounded {what}: {shown}.")
    return lines
