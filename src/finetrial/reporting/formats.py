"""Write numbers as a report shows them.

Undefined is a dash. Scores have three decimals, which is what 100 prompts can carry; powers of ten are written out.
"""

from __future__ import annotations

import math

from finetrial.units import format_bytes, format_count, format_seconds, format_share

DASH = "–"
_MINUS = "−"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def score(value: float | None) -> str:
    """0.312"""
    return DASH if value is None else f"{value:.3f}".replace("-", _MINUS)


def difference(value: float | None) -> str:
    """+0.214, −0.021, ±0.000"""
    if value is None:
        return DASH
    text = f"{abs(value):.3f}"
    if float(text) == 0:
        return f"±{text}"
    return ("+" if value > 0 else _MINUS) + text


def power_of_ten(value: float | None, *, digits: int = 3) -> str:
    """1.65 × 10²⁴; numbers from 0.01 to 9999 stay as they are."""
    if value is None:
        return DASH
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.{digits}g}"
    exponent = math.floor(math.log10(abs(value)))
    mantissa = f"{value / 10**exponent:.{digits}g}"
    if float(mantissa) >= 10:
        mantissa, exponent = f"{float(mantissa) / 10:g}", exponent + 1
    power = "10" + str(exponent).translate(_SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa} × {power}"


def whole(value: float | None) -> str:
    """Exact below a million (36,864); rounded with a suffix beyond (124.4M)."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if value < 1e6 else format_count(value)


def size(value: float | None) -> str:
    return DASH if value is None else format_bytes(value, digits=3)


def duration(value: float | None) -> str:
    return DASH if value is None else format_seconds(value)


def share(value: float | None) -> str:
    return DASH if value is None else format_share(value)


def percent(value: float | None) -> str:
    """46 %, without decimals."""
    return DASH if value is None else f"{100 * value:.0f}\u00a0%"


def signed_percent(value: float) -> str:
    """+4.2 %, −10.0 %, 0 %"""
    return "0 %" if abs(value) < 0.0005 else f"{100 * value:+.1f} %".replace("-", _MINUS)


def p_value(value: float | None) -> str:
    return DASH if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def smallest(p: float) -> str:
    """0.062, 9.5e-07: a p-value with two digits however small it is."""
    return f"{p:.2g}" if p < 0.001 else f"{p:.3f}"


def span(low: float, high: float) -> str:
    """0.312 to 0.401"""
    return f"{score(low)} to {score(high)}"


def difference_span(low: float, high: float) -> str:
    """+0.012 to +0.101"""
    return f"{difference(low)} to {difference(high)}"


def sample_letter(index: int) -> str:
    """A, B, ... Z, AA, AB, ...: the sample with index 0 is A."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
