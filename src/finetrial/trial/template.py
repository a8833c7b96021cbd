"""Fill a template with an example: the text that a model is shown.

A template such as "{prompt}\\nTL;DR:" is filled with the example's columns. Braces in the data are left alone; a
brace of the template's own is written twice.
"""

from __future__ import annotations

import string
from functools import lru_cache

from finetrial.errors import UserError, unknown_name
from finetrial.trial.examples import Example

PLAIN = "{prompt}"


@lru_cache(maxsize=64)
def template_parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """The template as (fixed text, column that follows it) in order; the last has no column.

    A faulty template is an error.
    """
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(
            f"the template {template!r} is not understood",
            got=str(error),
            fix="Write columns as {prompt}; a brace that is meant as such is written twice: {{ or }}.",
        ) from None
    for _, name, spec, conversion in parsed:
        if name is not None and (not name or spec or conversion or any(c in name for c in "[]!")):
            raise UserError(
                f"the template {template!r} is not understood",
                got="{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}",
                expected="a column's name in braces, such as {prompt}",
                fix="A brace that is meant as such is written twice: {{ or }}.",
            )
    if all(name is None for _, name, _, _ in parsed):
        raise UserError(
            f"the template {template!r} shows none of the data", expected="at least one column, such as {prompt}"
        )
    parts: list[tuple[str, str | None]] = []
    pending = ""  # the parser hands out fixed text in pieces where a brace is written twice
    for fixed, name, _, _ in parsed:
        pending += fixed
        if name is not None:
            parts.append((pending, name))
            pending = ""
    return (*parts, (pending, None))


def render_prompt(example: Example, *, template: str) -> str:
    """The template filled with the example's columns. {prompt} is the prompt, whatever its column is called."""
    pieces: list[str] = []
    for fixed, name in template_parts(template):
        pieces.append(fixed)
        if name is None:
            continue
        if name == "prompt":
            pieces.append(example.prompt)
        elif name in example.fields:
            pieces.append(example.fields[name])
        else:
            raise unknown_name(
                f"column in the template {template!r} ({example.origin})", name, {"prompt", *example.fields}
            )
    return "".join(pieces)


def seam(prompt: str, completion: str) -> str:
    """What stands between prompt and completion: one space, unless either side has white space there."""
    if not prompt or not completion:
        return ""
    return "" if prompt[-1].isspace() or completion[0].isspace() else " "


def fixed_end(template: str) -> str:
    """The fixed text after the template's last column, such as "\\nTL;DR:"; empty when there is none."""
    return template_parts(template)[-1][0]


def fixed_start(template: str) -> str:
    """The fixed text before the template's first column; empty when there is none."""
    return template_parts(template)[0][0]
