"""Write the LaTeX of a formula as MathML, which browsers set without a script.

The LaTeX of this project's derivations is read and no more: numbers, letters, fractions, powers and indices,
brackets, Greek letters, functions, \\mathrm and \\text. Anything else is a ValueError, never a formula that only
looks right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from finetrial.reporting.document import Formula

_TOKEN = re.compile(r"\\[A-Za-z]+|\\[ ,;_%]|\d+(?:\{,\}\d{3})*(?:\.\d+)?|'+|[\U000F0000-\U000FFFFD]+|[^\s]")
_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "infty": "∞"}
_FUNCTIONS = ("ln", "exp", "min", "max", "log")
_SIGNS = {"times": "×", "cdot": "·", "sum": "∑", "le": "≤", "ge": "≥", "ne": "≠"}
_SPACES = {"\\,": "0.17em", "\\;": "0.28em", "\\ ": "0.33em"}
_OPERATORS = {"-": "−", "*": "*", **{sign: sign for sign in "+=()[]/,<>:|"}}


def _element(name: str, *inner: Markup | str) -> Markup:
    return Markup("<{0}>{1}</{0}>").format(Markup(name), Markup("").join(inner))


class _Reader:
    """One formula, read from left to right."""

    def __init__(self, latex: str) -> None:
        self._latex = latex
        self._tokens = [match[0] for match in _TOKEN.finditer(_guarded(latex))]
        self._place = 0

    def whole(self) -> Markup:
        inner = self._row(until=())
        if self._place < len(self._tokens):
            raise self._unknown(self._tokens[self._place])
        return inner

    def _unknown(self, token: str) -> ValueError:
        return ValueError(f"{token!r} is not read in the formula {self._latex!r}")

    def _peek(self) -> str | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            raise ValueError(f"the formula ends too early: {self._latex!r}")
        self._place += 1
        return token

    def _row(self, *, until: Sequence[str]) -> Markup:
        parts = []
        while (token := self._peek()) is not None and token not in until:
            if token in ("}", "\\right"):
                raise self._unknown(token)
            parts.append(self._scripted(self._atom()))
        return _element("mrow", *parts)

    def _scripted(self, base: Markup) -> Markup:
        """The base with what stands below and above it."""
        below = above = None
        while (token := self._peek()) is not None and (token in ("_", "^") or token.startswith("'")):
            self._place += 1
            if token == "_":
                below = self._atom()
            elif token == "^":
                above = self._atom()
            else:
                above = _bracket("′" * len(token))
        if below is not None and above is not None:
            return _element("msubsup", base, below, above)
        if below is not None:
            return _element("msub", base, below)
        return base if above is None else _element("msup", base, above)

    def _group(self) -> Markup:
        if self._next() != "{":
            raise self._unknown(self._tokens[self._place - 1])
        inner = self._row(until=("}",))
        self._next()
        return inner

    def _words(self) -> str:
        """The text between braces, as it stands."""
        self._next()
        text = _unguarded(self._next())
        self._next()
        return text

    def _atom(self) -> Markup:
        token = self._next()
        if token == "{":
            self._place -= 1
            return self._group()
        if token[0].isdigit():
            return _element("mn", token.replace("{,}", ","))
        if token.isalpha():
            return _element("mi", token)
        if token in "()[]|,/":
            return _bracket(token)
        if token in _OPERATORS:
            return _element("mo", escape(_OPERATORS[token]))
        if token in _SPACES:
            return Markup('<mspace width="{}"></mspace>').format(_SPACES[token])
        return self._command(token)

    def _command(self, token: str) -> Markup:
        name = token.removeprefix("\\")
        if name in _GREEK:
            return _element("mi", _GREEK[name])
        if name in ("lfloor", "rfloor"):
            return _bracket(token)
        if name in _SIGNS:
            return _element("mo", _SIGNS[name])
        if name in _FUNCTIONS:
            applied = "" if self._peek() in ("(", "\\left") else Markup('<mspace width="0.17em"></mspace>')
            return _element("mrow", _element("mi", name), applied)
        if name == "frac":
            return _element("mfrac", self._group(), self._group())
        if name in ("mathrm", "text"):
            return _element("mtext", self._words())
        if name == "left":
            opening = self._next()
            inner = self._row(until=("\\right",))
            self._next()
            return _element("mrow", _bracket(opening, grows=True), inner, _bracket(self._next(), grows=True))
        raise self._unknown(token)


def _bracket(token: str, *, grows: bool = False) -> Markup:
    """A sign that stands close to its neighbours, as high as they are where it grows."""
    sign = {"\\lfloor": "⌊", "\\rfloor": "⌋"}.get(token, token)
    return Markup('<mo stretchy="{}" lspace="0" rspace="0">{}</mo>').format("true" if grows else "false", sign)


# Words are one token: inside the braces of \text each character is moved to a private plane, and back.
_WORDS = re.compile(r"(\\(?:text|mathrm)\{)((?:\\.|[^{}])*)(\})")
_PRIVATE = 0xF0000


def _guarded(latex: str) -> str:
    return _WORDS.sub(lambda match: match[1] + _one_token(match[2]) + match[3], latex)


def _one_token(words: str) -> str:
    """Words as characters that nothing else is written in, escapes taken off."""
    return "".join(chr(_PRIVATE + ord(letter)) for letter in re.sub(r"\\(.)", r"\1", words))


def _unguarded(token: str) -> str:
    return "".join(chr(ord(letter) - _PRIVATE) for letter in token)


def mathml(formula: Formula) -> Markup:
    """The formula as one row of MathML. Raises ValueError for LaTeX that is not read."""
    return _Reader(formula.latex).whole()
