"""Compute the Porter stem of an English word, as ROUGE counts it.

Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the departures that `rouge-score`
inherits from NLTK's default mode, because ROUGE figures in print rest on them: a list of irregular words, `ies`
and `ied` in words of four letters, `y` to `i` only after a consonant, `alli` before the rest of step 2, `bli`,
`fulli` and `logi`, and a vowel and a consonant alone counting as consonant-vowel-consonant. Equality with NLTK
is tested on real vocabularies.

A word is described by its measure m in [C](VC)^m[V]: how many times a run of consonants follows a run of vowels.
Digits count as consonants.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

# Words whose stem no rule finds. Source: the irregular forms of NLTK's default mode.
_IRREGULAR = {
    "sky": "sky",
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "news": "news",
    "inning": "inning",
    "innings": "inning",
    "outing": "outing",
    "outings": "outing",
    "canning": "canning",
    "cannings": "canning",
    "howe": "howe",
    "proceed": "proceed",
    "exceed": "exceed",
    "succeed": "succeed",
}

# Suffix -> replacement, from Porter 1980, steps 2, 3 and 4; in every step the longest matching suffix alone
# decides.
_STEP_2 = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "bli": "ble",  # departure: the paper has abli -> able
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
    "fulli": "ful",  # departure
    "logi": "log",  # departure; measured with its l, so that geologi and theologi agree
}
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
# "ion" needs an s or t before it.
_STEP_4 = dict.fromkeys(
    re.findall("[a-z]+", "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize"),
    "",
)


@dataclass(frozen=True)
class _Rules:
    """A step's rules grouped by suffix length, longest first, and all suffixes, to pass most words by at once."""

    by_length: tuple[tuple[int, dict[str, str]], ...]
    suffixes: tuple[str, ...]


def _rules(table: dict[str, str]) -> _Rules:
    ordered = sorted(table, key=len, reverse=True)
    groups = itertools.groupby(ordered, key=len)
    return _Rules(tuple((n, {suffix: table[suffix] for suffix in group}) for n, group in groups), tuple(ordered))


_RULES_2, _RULES_3, _RULES_4 = _rules(_STEP_2), _rules(_STEP_3), _rules(_STEP_4)


_KINDS = {letter: "c" for letter in range(128)} | {ord(vowel): "v" for vowel in "aeiou"} | {ord("y"): "y"}


def _shape(word: str) -> str:
    """The word as a string of c and v: `y` is a vowel exactly when a consonant stands before it."""
    shape = word.translate(_KINDS)
    if "y" not in shape:
        return shape
    kinds, last = [], "v"
    for kind in shape:
        if kind == "y":
            kind = "v" if last == "c" else "c"  # at the beginning a consonant
        kinds.append(kind)
        last = kind
    return "".join(kinds)


def _measure(word: str) -> int:
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Porter's condition *o: consonant, vowel, consonant other than w, x, y. Departure: or a vowel and a
    consonant."""
    shape = _shape(word)
    return (shape.endswith("cvc") and word[-1] not in "wxy") or shape == "vc"


def _matching(word: str, rules: _Rules) -> tuple[str, str] | None:
    """The longest suffix of `word` that has a rule, with its replacement."""
    if not word.endswith(rules.suffixes):
        return None
    for length, group in rules.by_length:
        suffix = word[-length:]
        if suffix in group:
            return suffix, group[suffix]
    return None


def _plural(word: str) -> str:
    """Step 1a."""
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word


def _past_and_participle(word: str) -> str:
    """Step 1b."""
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    if word.endswith("ed"):
        stem = word[:-2]
    elif word.endswith("ing"):
        stem = word[:-3]
    else:
        return word
    shape = _shape(stem)
    if "v" not in shape:
        return word
    if stem.endswith(("at", "bl", "iz")):
        return stem + "e"
    if len(stem) > 1 and stem[-1] == stem[-2] and shape[-1] == "c":
        return stem if stem[-1] in "lsz" else stem[:-1]
    if shape.count("vc") == 1 and _ends_short(stem):
        return stem + "e"
    return stem


def _final_y(word: str) -> str:
    """Step 1c, with the departure: only after a consonant, and not in a word of two letters."""
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":
        return word[:-1] + "i"
    return word


def _double_suffix(word: str) -> str:
    """Step 2."""
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        word = word[:-2]
    found = _matching(word, _RULES_2)
    if found is None:
        return word
    suffix, replacement = found
    stem = word[: -len(suffix)]
    measured = word[:-3] if suffix == "logi" else stem
    return stem + replacement if _measure(measured) > 0 else word


def _derived(word: str) -> str:
    """Step 3."""
    found = _matching(word, _RULES_3)
    if found is None:
        return word
    stem = word[: -len(found[0])]
    return stem + found[1] if _measure(stem) > 0 else word


def _residual(word: str) -> str:
    """Step 4."""
    found = _matching(word, _RULES_4)
    if found is None:
        return word
    stem = word[: -len(found[0])]
    if _measure(stem) <= 1 or (found[0] == "ion" and stem[-1] not in "st"):
        return word
    return stem


def _final_e_and_l(word: str) -> str:
    """Steps 5a and 5b."""
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    if word.endswith("ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


def porter_stem(word: str) -> str:
    """The stem of a word in lower case. Words of one or two letters are their own stems."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _final_y(_past_and_participle(_plural(word)))
    return _final_e_and_l(_residual(_derived(_double_suffix(word))))
