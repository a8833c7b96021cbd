"""Split a text into tokens.

`ascii_tokens` is what `rouge-score` 0.1.2 counts: runs of a-z and 0-9 in the text in lower case; everything
else separates, so a text in Cyrillic or Chinese has none. `unicode_tokens` gives every script words: letters
and digits with their marks, and one token per character in the scripts that write no spaces between words.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator

# Every byte that is not a-z or 0-9 becomes a space. Three times as fast as a regular expression.
_TO_SPACE = bytes(b if chr(b) in "abcdefghijklmnopqrstuvwxyz0123456789" else 0x20 for b in range(256))

# Scripts written without spaces: Unicode Standard Annex 29 (4.1, words that need a dictionary) and line-breaking
# class SA of Annex 14. Thai and Lao, Myanmar, Khmer, the Tai scripts, Kana, Han.
_NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf"
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
)
# Joiners and the soft hyphen stand inside words and are not part of them.
_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])


def ascii_tokens(text: str) -> list[str]:
    """Runs of [a-z0-9] in the lower-cased text, as `rouge-score` 0.1.2 cuts them."""
    return text.lower().encode("ascii", "replace").translate(_TO_SPACE).decode("ascii").split()


# Without marks and without the scripts above, words are what Python calls word characters, save the underscore.
_PLAIN_WORD = re.compile(r"[^\W_]+")


@functools.cache
def _marks() -> str:
    """The combining marks, which Python's \\w leaves out, as the inside of a character class (tens of ms, once)."""
    codes = (*range(0x300, 0x1F000), *range(0xE0100, 0xE01F0))
    return re.escape("".join(chr(code) for code in codes if unicodedata.category(chr(code)).startswith("M")))


@functools.cache
def _unspaced_letter() -> re.Pattern[str]:
    return re.compile(f"[{_NO_SPACES}]")


@functools.cache
def _needs_care() -> re.Pattern[str]:
    return re.compile(f"[{_NO_SPACES}{_marks()}]")


@functools.cache
def _careful_word() -> re.Pattern[str]:
    plain = f"(?![{_NO_SPACES}])[^\\W_]"
    return re.compile(f"[{_NO_SPACES}][{_marks()}]*|(?:{plain}[{_marks()}]*)+")


def word_matches(text: str) -> Iterator[re.Match[str]]:
    """The words of any script as matches: letters and digits with their marks, or one character without spaces."""
    if text.isascii() or not _needs_care().search(text):
        return _PLAIN_WORD.finditer(text)
    # A character of those scripts that is no letter (a Thai sign of currency) is no word.
    return (match for match in _careful_word().finditer(text) if any(c.isalnum() for c in match[0]))


def unicode_tokens(text: str) -> list[str]:
    """Words of any script, compatibility-normalised (NFKC) and case-folded; equal to `ascii_tokens` on ASCII
    text."""
    if text.isascii():
        return ascii_tokens(text)
    folded = unicodedata.normalize("NFKC", text).casefold()
    folded = unicodedata.normalize("NFKC", folded).translate(_INVISIBLE)
    return [match[0] for match in word_matches(folded)]


# Of all letters, those outside ASCII that may be left out: English prose with foreign names has far fewer, German
# about twice as many by tables of letter frequencies. Assumption.
FEW_LETTERS = 0.01


def loses_words(texts: Iterable[str]) -> bool:
    """Whether `ascii_tokens` leaves out more than FEW_LETTERS of all letters, or most of those of one text."""
    n_outside, n_all = 0, 0
    for text in texts:
        letters = sum(map(str.isalpha, text))
        outside = 0 if text.isascii() else letters - sum(c.isalpha() and c.isascii() for c in text)
        if outside > letters / 2:
            return True
        n_outside, n_all = n_outside + outside, n_all + letters
    return n_outside > FEW_LETTERS * n_all


def is_unspaced(text: str) -> bool:
    """Whether most letters of a text are of scripts that write no spaces between words."""
    if text.isascii():
        return False
    letters = [c for c in text if c.isalpha()]
    return 2 * sum(_unspaced_letter().match(c) is not None for c in letters) > len(letters)


def non_ascii_share(text: str) -> float | None:
    """Share of the text's letters and digits that are outside ASCII; None where it has none."""
    if text.isascii():
        return 0.0 if any(c.isalnum() for c in text) else None
    word_characters = [c for c in text if c.isalnum()]
    if not word_characters:
        return None
    return sum(not c.isascii() for c in word_characters) / len(word_characters)
