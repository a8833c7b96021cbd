"""Make texts safe to show: the reader sees all of it, and nothing in it acts on the page.

Model output and data are hostile until shown otherwise: control characters, direction overrides, markup of every
kind. HTML is escaped where elements are built; Markdown and LaTeX here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST_SHOWN = 6_000  # characters of one text in a report; the whole stands in samples/

# Direction embeddings, overrides and isolates (Unicode Standard Annex 9, 2.1 to 2.5) could reorder the page's own
# words; shown by name instead. The two marks LRM and RLM order nothing but themselves and stay.
_DIRECTION = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_NAMED = (*range(0x80, 0xA0), *_DIRECTION, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)
_VISIBLE = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: "\u2421",
    **{code: f"\u27e8U+{code:04X}\u27e9" for code in _NAMED},
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
}


def plural(count: int, noun: str) -> str:
    """1 prompt, 2 prompts"""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def visible(text: str) -> str:
    """The text with control characters as pictures, direction overrides by name, lone surrogates replaced."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def shown(text: str, *, longest: int = LONGEST_SHOWN) -> tuple[str, int]:
    """The visible text without white space around it, cut to `longest` characters, and how many were left out."""
    text = text.strip()
    return visible(text[:longest]), max(0, len(text) - longest)


def one_line(text: str, *, longest: int) -> str:
    """The text on one line, ended by an ellipsis where it was longer than `longest` characters."""
    line = " ".join(visible(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def markdown(text: str) -> str:
    """Text as one run of Markdown that renders as itself; newlines become spaces."""
    return re.sub(r"([\\`*_\[\]<>|#~&$!])", r"\\\1", " ".join(visible(text).split()))


def fenced(text: str) -> str:
    """Text as a Markdown code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


_LATEX: Mapping[int, str] = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "×": r"$\times$",
        "−": r"$-$",
        "±": r"$\pm$",
        "\u00a0": "~",
        "–": r"\textendash{}",
        "′": "$'$",
        "″": "$''$",
        "…": r"\ldots{}",
        "\u202f": r"\,",
    }
)


def latex(text: str) -> str:
    """Text as one run of LaTeX that typesets as itself, two hyphens too; newlines become spaces."""
    return re.sub(r"-(?=-)", "-{}", re.sub(r"[ \t\n]+", " ", visible(text)).strip().translate(_LATEX))
