"""How one writer types: capitals, contractions, figures, slang, pauses.

A register is drawn once per post and holds for its title, its text and its summary alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from finetrial.starter.wording import pick

SMALL_NUMBERS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "twelve": "12",
}  # fmt: skip
COUNTED = "weeks?|months?|years?|days?|hours?|minutes|times|kids|nights|people|miles"
NUMBER_BEFORE_UNIT = re.compile(rf"\b({'|'.join(SMALL_NUMBERS)}) (?=(?:{COUNTED})\b)")
NUMBER_BEFORE_HOUR = re.compile(r"\b(one|two|three|four) in the morning\b")
HOURS = {"one": "1", **SMALL_NUMBERS}
DOLLARS = re.compile(r"\$(\d[\d,]*\d)")
SENTENCE_START = re.compile(r"((?:^|[.?!]\)? |\n)[\"(]?)([a-z])")
SPACES = re.compile(r"  +")
SPACE_BEFORE_MARK = re.compile(r" +([,.?!])")
A_BEFORE_VOWEL = re.compile(r"\b(a) (?=[aeiAEI]|o(?!ne\b|nce\b)|u(?!s|ni))")
COMMA_BEFORE_MARK = re.compile(r",(?=[,.?!;])")
# Not in "the way it is", and only before a further word.
CONTRACTIBLE = re.compile(r"(?<!way )\b(I|he|she|they|we|it|that) (is|are|am|have|has)(?= [a-z])")
SHORT_FORMS = {
    ("I", "am"): "I'm", ("I", "have"): "I've", ("he", "is"): "he's", ("she", "is"): "she's",
    ("they", "are"): "they're",
    ("we", "are"): "we're", ("they", "have"): "they've", ("we", "have"): "we've", ("he", "has"): "he's",
    ("she", "has"): "she's", ("it", "is"): "it's", ("that", "is"): "that's",
}  # fmt: skip
LONG_FORMS = [
    (re.compile(r"\bcan't\b"), "cannot"), (re.compile(r"\bwon't\b"), "will not"), (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bI'm\b"), "I am"), (re.compile(r"\b(I|we|they|you)'ve\b"), r"\1 have"),
    (re.compile(r"\b(we|they|you)'re\b"), r"\1 are"), (re.compile(r"\b(\w+)'ll\b"), r"\1 will"),
    (re.compile(r"\bthe thing is\b"), "the matter is this"), (re.compile(r"\bkids\b"), "children"),
]  # fmt: skip
SLANG = [
    (re.compile(r"\bI don't know\b"), "idk"), (re.compile(r"\bto be honest(?=,)"), "tbh"),
    (re.compile(r"\bhonestly(?=,)"), "ngl"), (re.compile(r"\bbecause\b(?! of)"), "cause"),
    (re.compile(r"\bright now\b"), "rn"), (re.compile(r"\bgoing to\b(?= (?:be|move|wait|say|live)\b)"), "gonna"),
    (re.compile(r"\bI want to\b"), "I wanna"),
    (re.compile(r"\bkind of\b"), "kinda"), (re.compile(r"\bthough\b"), "tho"),
    (re.compile(r"\bbirthday\b"), "bday"),
    (re.compile(r"\bapartment\b"), "apt"), (re.compile(r"\bgirlfriend\b"), "gf"),
    (re.compile(r"\bboyfriend\b"), "bf"),
    (re.compile(r"\bprobably\b"), "prob"), (re.compile(r"\bpeople\b"), "ppl"),
    (re.compile(r"\bmessages\b"), "msgs"),
]  # fmt: skip
STRESSED = re.compile(r"\b(so|never|every|all|really|one|no) (?=[a-z])")


@dataclass(frozen=True, slots=True)
class Register:
    """One writer's habits."""

    lower_case: bool
    drops_apostrophes: bool
    formal: bool
    slang: tuple[int, ...]
    digits: bool
    money: str
    contracts: float
    pauses: str
    exclaims: bool
    stresses: bool
    ends_summary: bool
    paragraphs: int


def draw_register(rng: Random) -> Register:
    """A writer. Shares: an eighth never types a capital, a twelfth writes formally, a sixth uses slang."""
    lower_case = rng.random() < 0.12
    formal = not lower_case and rng.random() < 0.09
    slangy = not formal and rng.random() < (0.45 if lower_case else 0.12)
    return Register(
        lower_case=lower_case,
        drops_apostrophes=lower_case and rng.random() < 0.4,
        formal=formal,
        slang=tuple(index for index in range(len(SLANG)) if slangy and rng.random() < 0.6),
        digits=rng.random() < 0.3,
        money=pick(rng, ("$", "$", "$", "dollars", "bucks" if not formal else "dollars")),
        contracts=0.0 if formal else 0.75,
        pauses=pick(rng, ("", "", "", "", "", "dots", "dash", "commas")),
        exclaims=not formal and rng.random() < 0.12,
        stresses=not lower_case and not formal and rng.random() < 0.08,
        ends_summary=rng.random() < 0.75,
        paragraphs=pick(rng, (1, 1, 1, 2, 2, 3)),
    )


def typed(text: str, *, register: Register, rng: Random) -> str:
    """The text as this writer types it: sentences in `text` start in lower case and are capitalised here."""
    text = _contracted(SPACE_BEFORE_MARK.sub(r"\1", SPACES.sub(" ", text)).strip(), register=register, rng=rng)
    text = A_BEFORE_VOWEL.sub("an ", COMMA_BEFORE_MARK.sub("", text))
    if register.formal:
        for pattern, long_form in LONG_FORMS:
            text = pattern.sub(long_form, text)
    for index in register.slang:
        pattern, short = SLANG[index]
        text = pattern.sub(short, text)
    if register.digits:
        text = NUMBER_BEFORE_UNIT.sub(lambda match: SMALL_NUMBERS[match[1]] + " ", text)
        text = NUMBER_BEFORE_HOUR.sub(lambda match: HOURS[match[1]] + " am", text)
    if register.money != "$":
        text = DOLLARS.sub(rf"\1 {register.money}", text)
    if register.stresses:
        text = STRESSED.sub(lambda match: match[1].upper() + " " if rng.random() < 0.15 else match[0], text)
    text = SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
    if register.lower_case:
        text = text.lower()
    if register.drops_apostrophes:
        text = text.replace("'", "")
    return text


def _contracted(text: str, *, register: Register, rng: Random) -> str:
    """Subject and verb drawn together ("she is" to "she's") about as often as this writer does."""

    def short(match: re.Match[str]) -> str:
        pair = (match[1], match[2])
        if pair not in SHORT_FORMS or rng.random() >= register.contracts:
            return match[0]
        if match[2] in ("has", "have") and not text.startswith((" been", " got"), match.end()):
            return match[0]
        return SHORT_FORMS[pair]

    return CONTRACTIBLE.sub(short, text)
