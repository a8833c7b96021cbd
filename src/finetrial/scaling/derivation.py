"""The derivation of a result line by line (formula, values put in, result, source), as text or as LaTeX."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH = 80


@dataclass(frozen=True)
class Step:
    """One line of a derivation. `plain` and `latex` are templates of the right-hand side with {name} for values."""

    symbol: str  # L, D', C ...
    formula: str  # the right-hand side in symbols, as text
    formula_latex: str
    plain: str
    latex: str
    values: dict[str, float]
    result: float
    source: str
    symbol_latex: str | None = None
    remark: str | None = None

    @property
    def substituted(self) -> str:
        return self.plain.format(**{key: number(value) for key, value in self.values.items()})

    @property
    def substituted_latex(self) -> str:
        return _fill_latex(self.latex, {key: number_latex(value) for key, value in self.values.items()})


@dataclass(frozen=True)
class Derivation:
    """A worked exercise: a title, its steps, and what the steps alone would hide."""

    title: str
    steps: Sequence[Step]
    remarks: Sequence[str] = ()

    def as_dict(self) -> dict[str, object]:
        return {
            "title": self.title,
            "steps": [
                {
                    "symbol": step.symbol,
                    "formula": step.formula,
                    "substituted": step.substituted,
                    "result": step.result,
                    "source": step.source,
                    "remark": step.remark,
                }
                for step in self.steps
            ],
            "remarks": list(self.remarks),
        }


def number(value: float) -> str:
    """A number with the digits a reader can check by hand: ten significant ones at most, no padding."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        return f"{value:.10g}"
    mantissa, exponent = f"{value:.9e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def number_latex(value: float) -> str:
    """The same number as LaTeX mathematics."""
    text = number(value)
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    power = rf"10^{{{exponent}}}"
    return power if mantissa == "1" else rf"{mantissa} \times {power}"


def render_text(derivation: Derivation) -> str:
    """The derivation as text of 80 columns."""
    lines = [derivation.title, ""]
    for index, step in enumerate(derivation.steps, start=1):
        margin = f"{index:>2}. "
        indent = " " * (len(margin) + len(step.symbol) + 1)
        lines += _wrap(f"{step.symbol} = {step.formula}", first=margin, rest=indent + "  ")
        lines += _wrap(f"= {step.substituted}", first=indent, rest=indent + "  ")
        lines += [f"{indent}= {number(step.result)}"]
        lines += _wrap(f"[{step.source}]", first=indent, rest=indent + " ")
        if step.remark:
            lines += _wrap(step.remark, first=indent, rest=indent)
        lines.append("")
    for remark in derivation.remarks:
        lines += [*_wrap(remark, first="", rest=""), ""]
    return "\n".join(lines).rstrip()


def render_latex(derivation: Derivation) -> str:
    """The derivation as LaTeX to paste into a document that loads amsmath."""
    lines = [rf"\paragraph{{{_escape(derivation.title)}}}", r"\begin{enumerate}"]
    for step in derivation.steps:
        symbol = step.symbol_latex or step.symbol
        lines += [
            r"\item $\begin{aligned}[t]",
            rf"  {symbol} &= {step.formula_latex} \\",
            rf"  &= {step.substituted_latex} \\",
            rf"  &= {number_latex(step.result)}",
            r"\end{aligned}$",
            rf"  \\ {{\small {_escape(step.source)}}}",
        ]
        if step.remark:
            lines.append(rf"  \\ {_escape(step.remark)}")
    lines.append(r"\end{enumerate}")
    lines += [_escape(remark) + "\n" for remark in derivation.remarks]
    return "\n".join(lines).rstrip()


def _fill_latex(template: str, values: dict[str, str]) -> str:
    # LaTeX braces would collide with str.format, so values stand as <name> in LaTeX templates.
    for key, text in values.items():
        template = template.replace(f"<{key}>", text)
    return template


def _wrap(text: str, *, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _escape(text: str) -> str:
    special = {character: "\\" + character for character in "&%#_$"}
    special |= {"^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    return "".join(special.get(character, character) for character in text)


def significant(value: float, *, digits: int) -> float:
    """`value` rounded to so many significant digits, as a person would copy it."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, digits - 1 - math.floor(math.log10(abs(value))))
