"""Score texts with a regular expression, named `regex:PATTERN` (Python's syntax).

Without a group: 1 where the pattern is found in the text. With one: 1 where what the group holds at the pattern's
last place in the text equals what it holds in a reference; a reference in which the pattern is not found counts
whole. The last place, for a text that reasons before it answers.
"""

from __future__ import annotations

import functools
import re

from finetrial.errors import UserError
from finetrial.metrics.answers import same_spelling
from finetrial.metrics.metric import Output, SampleMetric, each
from finetrial.metrics.signature import Signature

PREFIX = "regex:"
FORM = f"{PREFIX}PATTERN"
ABOUT = "the pattern is found; with a (group), it holds what it holds in a reference"


@functools.lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(
            f"the pattern of the metric {PREFIX}{pattern} is not understood",
            got=str(error),
            expected="a regular expression as Python reads them",
        ) from None


def _held(pattern: re.Pattern[str], text: str) -> str | None:
    """What the first group holds at the pattern's last place; None where it is not found."""
    held = [match.group(1) or "" for match in pattern.finditer(text)]
    return same_spelling(held[-1]) if held else None


def _value(pattern: re.Pattern[str], output: Output) -> float | None:
    if not pattern.groups:
        return float(pattern.search(output.text) is not None)
    if not output.references:
        return None
    mine = _held(pattern, output.text)
    if mine is None:
        return 0.0
    theirs = (same_spelling(text) if (held := _held(pattern, text)) is None else held for text in output.references)
    return float(mine in theirs)


def regex_metric(name: str) -> SampleMetric | None:
    """The metric that `regex:PATTERN` names; None for another name. Raises UserError for a pattern that is none."""
    if not name.startswith(PREFIX) or name == PREFIX:
        return None
    pattern = _compiled(name.removeprefix(PREFIX))
    return SampleMetric(
        name=name,
        title=f"Found: {pattern.pattern}" if not pattern.groups else f"Same {pattern.pattern}",
        about=ABOUT,
        bounds=(0.0, 1.0),
        needs_references=pattern.groups > 0,
        compute=each(lambda output, settings: _value(pattern, output)),
        sign=lambda settings: str(Signature(name, reference_rule="any" if pattern.groups else None)),
    )
