"""How are quantities read from a person and shown to one?

`67B`, `4.1T`, `1e24`, `36MiB` and `24GB` are read; counts, bytes, seconds and shares are shown. K, M, B (or G) and
T are powers of 1000 for counts; kB, MB, GB, TB are powers of 1000 and KiB, MiB, GiB, TiB powers of 1024 for bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

from finetrial.errors import UserError

_COUNT_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BYTE_SUFFIXES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "PB": 10**15,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "PIB": 2**50,
}
_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*\Z")


def _split(text: str, *, what: str, expected: str) -> tuple[Decimal, str]:
    match = _NUMBER.match(text)
    if match is None:
        raise UserError(f"{what} is not a number", got=repr(text), expected=expected)
    return Decimal(match[1].replace("_", "")), match[2].upper()  # decimal, so that 4.1T is 4.1e12 exactly


def _check_range(value: float, *, text: str, what: str, expected: str, zero: bool) -> float:
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "zero or more" if zero else "more than zero"
        raise UserError(f"{what} must be finite and {least}", got=repr(text), expected=expected)
    return value


def parse_count(text: str | float, *, what: str = "the number", zero: bool = False) -> float:
    """Read a count: parameters, tokens or FLOPs. Suffixes K, M, B (= G), T, P, E are powers of 1000.

    Raises UserError for text that is not a number, an unknown suffix, and what is negative, not finite or
    (unless `zero`) zero.
    """
    expected = "a number such as 67B, 4.1T or 1e24"
    if isinstance(text, (int, float)):
        return _check_range(float(text), text=str(text), what=what, expected=expected, zero=zero)
    number, suffix = _split(text, what=what, expected=expected)
    if suffix not in _COUNT_SUFFIXES:
        raise UserError(
            f"{what} has an unknown unit", got=repr(text), expected=f"{expected}; units K, M, B, T, P, E"
        )
    value = float(number * _COUNT_SUFFIXES[suffix])
    return _check_range(value, text=text, what=what, expected=expected, zero=zero)


def parse_bytes(text: str | float, *, what: str = "the size", zero: bool = False) -> int:
    """Read a size in bytes: `36MiB`, `24GB`, `1048576`. Decimal and binary units are kept apart."""
    expected = "a size such as 36MiB, 24GB or 1048576"
    if isinstance(text, (int, float)):
        return round(_check_range(float(text), text=str(text), what=what, expected=expected, zero=zero))
    number, suffix = _split(text, what=what, expected=expected)
    if suffix not in _BYTE_SUFFIXES:
        raise UserError(
            f"{what} has an unknown unit",
            got=repr(text),
            expected=f"{expected}; units kB, MB, GB, TB, KiB, MiB, GiB, TiB",
        )
    return round(
        _check_range(float(number * _BYTE_SUFFIXES[suffix]), text=text, what=what, expected=expected, zero=zero)
    )


def parse_share(text: str | float, *, what: str = "the share") -> float:
    """Read a share between 0 and 1: `1%`, `0.01`."""
    expected = "a share such as 1% or 0.01"
    raw = str(text).strip()
    number, suffix = _split(raw.removesuffix("%"), what=what, expected=expected)
    value = float(number / 100 if raw.endswith("%") else number)
    if suffix or not 0 <= value <= 1:
        raise UserError(f"{what} must lie between 0 and 1", got=repr(text), expected=expected)
    return value


def format_count(value: float, *, digits: int = 4) -> str:
    """Show a count with the suffix a person would use: 67B, 4.1T, 124.4M; 3.033e+24 beyond 1e15."""
    if value == 0:
        return "0"
    if abs(value) >= 1e15:
        return f"{value:.{digits - 1}e}"
    for suffix in ("T", "B", "M", "K"):
        scale = _COUNT_SUFFIXES[suffix]
        if abs(value) >= scale * (1 - 0.5 * 10 ** (1 - digits)):
            return f"{value / scale:.{digits}g}{suffix}"
    return f"{value:.{digits}g}"


def format_bytes(value: float, *, binary: bool = True, digits: int = 4) -> str:
    """Show bytes in binary (GiB) or decimal (GB) units."""
    base, suffixes = (1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))
    if not binary:
        base, suffixes = (1000, ("B", "kB", "MB", "GB", "TB", "PB"))
    scaled, index = float(value), 0
    while abs(scaled) >= base * (1 - 0.5 * 10.0**-digits) and index < len(suffixes) - 1:
        scaled, index = scaled / base, index + 1
    number = f"{scaled:,.0f}" if abs(scaled) >= 10 ** (digits - 1) else f"{scaled:.{digits}g}"
    return f"{number} {suffixes[index]}"


def format_seconds(value: float) -> str:
    """Show a duration as a person would say it: 0.42 s, 12 s, 3 min 05 s, 2 h 07 min, 3 d 04 h."""
    if value < 9.95:
        return f"{value:.2g} s"
    seconds = round(value)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3600:02d} h"


def format_share(value: float, *, digits: int = 3) -> str:
    """Show a share as a percentage: 0.0013 -> 0.13 %."""
    return f"{100 * value:.{digits}g} %"


def listing(parts: Sequence[str], *, most: int | None = None) -> str:
    """a, b and c; of more than `most`, those and how many more."""
    if most is not None and len(parts) > most + 1:
        return f"{', '.join(parts[:most])} and {len(parts) - most} more"
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
