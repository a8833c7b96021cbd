"""Collect what a verification found: what agreed, what did not, and what could not be looked at."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Sums in another order, on another machine, differ in the last digits of a double; an assumption, far below what is
# shown.
TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that does not follow from the records. None: absent on that side."""

    what: str
    reported: str | None
    recomputed: str | None


def short(value: Any) -> str | None:
    """A value on one line of at most 120 characters."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 120 else text[:119] + "…"


def is_number(value: Any) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal, numbers within the tolerance."""
    if is_number(a) and is_number(b):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(a) is type(b) and bool(a == b)


def leaves(value: Any, *, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a JSON document under its path; an empty object or list is a value."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, path=f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from leaves(item, path=f"{path}[{place}]")
    else:
        yield path, value


@dataclass(slots=True)
class Tally:
    """What has been found so far."""

    agreed: Counter[str] = field(default_factory=Counter)  # kind -> how many agreed
    mismatches: list[Mismatch] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def differs(self, what: str, reported: Any, recomputed: Any) -> None:
        """Note a difference."""
        self.mismatches.append(Mismatch(what, short(reported), short(recomputed)))

    def compare(self, what: str, reported: Any, recomputed: Any, *, kind: str) -> bool:
        """Note whether two values agree; `kind` counts those that do."""
        if same(reported, recomputed):
            self.agreed[kind] += 1
            return True
        self.differs(what, reported, recomputed)
        return False

    def not_looked_at(self, text: str) -> None:
        """Note what could not be checked, once."""
        if text not in self.not_checked:
            self.not_checked.append(text)
