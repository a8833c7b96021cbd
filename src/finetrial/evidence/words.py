"""How are numbers and lists written in the sentences of a verdict?"""

from __future__ import annotations

from collections.abc import Sequence

_MINUS = "−"


def figure(value: float) -> str:
    """0.312, −0.021, or four digits where that is not enough: 1234, 5.1e-05."""
    text = f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 100 else f"{value:.4g}"
    return text.replace("-", _MINUS, 1) if value < 0 else text


def signed(value: float) -> str:
    """+0.214, −0.021."""
    return ("+" if value >= 0 else "") + figure(value)


def p_value(p: float) -> str:
    """p = 0.032, p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def listing(parts: Sequence[str]) -> str:
    """a, b and c"""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def about(count: int) -> str:
    """24, 240, 1,300: a planned number of prompts is never known to the last digit."""
    if count < 100:
        return str(count)
    step = 10 ** (len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"
