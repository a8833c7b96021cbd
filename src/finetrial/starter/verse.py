"""Write a passage of blank verse in an older English, ten syllables to every line.

Every word comes from a lexicon with a stress mark for each syllable (1 stressed, 0 not, - free), so that ten is
counted and not guessed. A line is a wording with word classes in it. When the wordings are read, every way of
filling a line's classes with stress patterns that makes it scan is worked out; writing a line draws one of them.

A line scans when it has ten syllables, its stressed ones stand where the verse is strong (2, 4, 6, 8, 10), and the
articles where it is weak; a line's first foot may be turned about. Small words of one syllable that the voice may
stress or not ("when", "hath", "me") are free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from random import Random
from typing import Any

import yaml

from finetrial.starter.wording import TRIES, pick, shuffled, split_of

SYLLABLES = 10
PASSAGE_LINES = 5
PARTITION_SEED = 20240602
HELDOUT_SHARE = 0.12
VALIDATION_SHARE = 0.06

WEAK = ("a", "an", "the")
FREE = ("-",)
FEMALE = frozenset({"queen", "maid", "widow", "maiden"})
HE = {"he": "he", "his": "his", "him": "him"}
SHE = {"he": "she", "his": "her", "him": "her"}
THEMED = ("thing", "things", "place", "adj", "does", "do")
OWN = {
    "person": "person", "persons": "persons", "abstract": "abstract", "body": "body", "feeling": "has_feeling",
    "vt3": "vt3", "vt": "vt", "vi": "vi", "vi3": "vi3", "past": "past", "part": "part", "voc": "vocative",
}  # fmt: skip
TOKEN = re.compile(r"<(\w+)>|([A-Za-z']+)")
A_BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=[aeiou])")


@dataclass(frozen=True, slots=True)
class Scansion:
    """One way for a line to scan: for each slot the words that fit."""

    words: tuple[tuple[str, ...], ...]
    count: int


@dataclass(frozen=True, slots=True)
class Wording:
    """One wording of a line: its text around the slots, and for each theme the ways it scans."""

    pieces: tuple[str, ...]
    slots: tuple[str, ...]
    scansions: dict[str, tuple[tuple[Scansion, ...], tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Sentence:
    """Two or three lines that make sense together."""

    lines: tuple[tuple[Wording, ...], ...]
    opens: bool
    follows: bool


@dataclass(frozen=True, slots=True)
class Scheme:
    """What decides a passage's split: its two sentences and the wording of its first line, and its theme."""

    first: int
    opening: int
    second: int
    theme: str


@dataclass(frozen=True)
class Prosody:
    """The lexicon and the sentences, worked out once. `stress` has every word the verse can use."""

    stress: dict[str, str]
    themes: tuple[str, ...]
    sentences: tuple[Sentence, ...]


def load_prosody() -> Prosody:
    """Read the lexicon and the lines. ValueError names a word without stress or a wording that can never scan."""
    lexicon, lines = _read("verse_words"), _read("verse_lines")
    stress: dict[str, str] = {word: "-" for word in lexicon["plain"].split()} | lexicon["function"]
    stress |= {word: "0" for word in WEAK}
    classes = {name: _entries(lexicon[name]) for name in sorted(set(OWN.values()))}
    themed = {
        theme: {name: _entries(lexicon["themes"][theme][name]) for name in THEMED} for theme in lexicon["themes"]
    }
    for entries in [*classes.values(), *(words for theme in themed.values() for words in theme.values())]:
        for text, pattern in entries:
            if " " not in text:
                stress.setdefault(text, pattern)
    for written in (lexicon["vocative"], *(lexicon["themes"][theme]["place"] for theme in themed)):
        for word, _, marks in (part.partition(":") for phrase in written for part in phrase.split()):
            stress[word] = marks or "-"
    themes = tuple(sorted(themed))
    by_theme = {theme: {slot: classes[name] for slot, name in OWN.items()} | themed[theme] for theme in themes}
    sentences = tuple(
        Sentence(
            lines=tuple(
                tuple(_wording(text, stress=stress, by_theme=by_theme) for text in line) for line in entry["lines"]
            ),
            opens=entry.get("opens", False),
            follows=entry.get("follows", False),
        )
        for entry in lines
    )
    return Prosody(stress=stress, themes=themes, sentences=sentences)


def line_stress(line: str, *, stress: dict[str, str]) -> list[str]:
    """The stress patterns of a finished line's words. KeyError for a word that is not in the lexicon."""
    return [_stress_of(word, stress) for word in re.findall(r"[A-Za-z']+", line)]


def scans(patterns: list[str]) -> bool:
    """Whether words of these patterns, in this order, make a line."""
    position = 0
    for pattern in patterns:
        if not _fits(pattern, position):
            return False
        position += len(pattern)
    return position == SYLLABLES


def schemes(prosody: Prosody) -> dict[str, tuple[Scheme, ...]]:
    """For each split its schemes, dealt by one fixed shuffle within each pair of sentences."""
    dealt: dict[str, list[Scheme]] = {"train": [], "validation": [], "heldout": []}
    rng = Random(PARTITION_SEED)
    for first, opening_sentence in enumerate(prosody.sentences):
        for second, closing_sentence in enumerate(prosody.sentences):
            lines = len(opening_sentence.lines) + len(closing_sentence.lines)
            if (
                first == second
                or lines != PASSAGE_LINES
                or not (opening_sentence.opens and closing_sentence.follows)
            ):
                continue
            every = shuffled(
                rng,
                [
                    Scheme(first=first, opening=opening, second=second, theme=theme)
                    for opening in range(len(opening_sentence.lines[0]))
                    for theme in prosody.themes
                ],
            )
            heldout = int(len(every) * HELDOUT_SHARE)
            validation = heldout + int(len(every) * VALIDATION_SHARE)
            dealt["heldout"] += every[:heldout]
            dealt["validation"] += every[heldout:validation]
            dealt["train"] += every[validation:]
    return {split: tuple(one) for split, one in dealt.items()}


def write_passage(prosody: Prosody, scheme: Scheme, *, rng: Random, split: str) -> tuple[str, ...]:
    """Five lines of ten syllables in two sentences, in the wordings of `split`."""
    while True:
        lines = _passage(prosody, scheme, rng=rng, split=split)
        if lines is not None:
            return lines


def _passage(prosody: Prosody, scheme: Scheme, *, rng: Random, split: str) -> tuple[str, ...] | None:
    """A passage, or None where the words ran out: its person fits no scansion, or all fitting words were used."""
    told = _Telling(rng=rng, theme=scheme.theme)
    lines = []
    for sentence_index in (scheme.first, scheme.second):
        for line_index, wordings in enumerate(prosody.sentences[sentence_index].lines):
            if sentence_index == scheme.first and line_index == 0:
                wording = wordings[scheme.opening]
            else:
                wording = pick(rng, wordings)
            line = told.line(wording, split=split)
            if line is None:
                return None
            lines.append(line)
    return tuple(lines)


class _Telling:
    """One passage being written: its theme, its person, and the words it has used."""

    def __init__(self, *, rng: Random, theme: str) -> None:
        self.rng = rng
        self.theme = theme
        self.used: set[str] = set()
        self.person: str | None = None

    def line(self, wording: Wording, *, split: str) -> str | None:
        scansions, cumulative = wording.scansions[self.theme]
        for _ in range(TRIES):
            target = self.rng.random() * cumulative[-1]
            scansion = next(one for one, upto in zip(scansions, cumulative, strict=True) if target < upto)
            chosen = self._words(wording, scansion)
            if chosen is None:
                continue
            words, stems, person = chosen
            text = wording.pieces[0] + "".join(
                word + piece for word, piece in zip(words, wording.pieces[1:], strict=True)
            )
            text = A_BEFORE_VOWEL.sub(r"\1n ", text)
            text = text[0].upper() + text[1:]
            if split_of(text) == split:
                self.used |= stems
                self.person = person
                return text
        return None

    def _words(self, wording: Wording, scansion: Scansion) -> tuple[list[str], set[str], str | None] | None:
        words: list[str] = []
        new: set[str] = set()
        person = self.person
        for slot, options in zip(wording.slots, scansion.words, strict=True):
            if slot in HE:
                if person is None:
                    return None
                words.append((SHE if person in FEMALE else HE)[slot])
                continue
            if slot == "person" and person is not None:
                if person not in options:
                    return None
                words.append(person)
                continue
            word = pick(self.rng, options)
            if _stem(word) in self.used or _stem(word) in new:
                return None
            new.add(_stem(word))
            if slot == "person":
                person = word
            words.append(word)
        return words, new, person


def _stem(word: str) -> str:
    return word[:5].rstrip("se")


def _read(name: str) -> Any:
    text = (files(__package__) / "material" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _entries(written: list[str]) -> list[tuple[str, str]]:
    """`weary:10` as (weary, 10). In a phrase ("gentle:10 lord") a word of one syllable is free: marked -."""
    entries = []
    for entry in written:
        words = [part.partition(":") for part in entry.split()]
        alone = "1" if len(words) == 1 else "-"
        entries.append((" ".join(word for word, _, _ in words), "".join(marks or alone for _, _, marks in words)))
    return entries


def _stress_of(word: str, stress: dict[str, str]) -> str:
    return stress[word] if word in stress else stress[word.lower()]


def _wording(
    text: str, *, stress: dict[str, str], by_theme: dict[str, dict[str, list[tuple[str, str]]]]
) -> Wording:
    pieces: list[str] = []
    slots: list[str] = []
    parts: list[str | None] = []
    last = 0
    for token in TOKEN.finditer(text):
        slot, word = token.groups()
        if slot is None:
            try:
                parts.append(_stress_of(word, stress))
            except KeyError:
                raise ValueError(f"the verse's lexicon has no stress for {word!r} in {text!r}") from None
        else:
            pieces.append(text[last : token.start()])
            slots.append(slot)
            parts.append(None)
            last = token.end()
    pieces.append(text[last:])
    scansions = {}
    for theme, classes in by_theme.items():
        found = _scansions(parts, [_by_pattern(slot, classes) for slot in slots])
        if sum(one.count for one in found) < 60:
            raise ValueError(
                f"{text!r} scans in only {sum(one.count for one in found)} ways on the theme {theme!r}"
            )
        scansions[theme] = (tuple(found), tuple(accumulate(one.count for one in found)))
    return Wording(pieces=tuple(pieces), slots=tuple(slots), scansions=scansions)


def _by_pattern(slot: str, classes: dict[str, list[tuple[str, str]]]) -> dict[str, tuple[str, ...]]:
    if slot in HE:
        return {"-": (slot,)}
    groups: dict[str, list[str]] = {}
    for text, pattern in classes[slot]:
        groups.setdefault(pattern, []).append(text)
    return {pattern: tuple(words) for pattern, words in groups.items()}


def _scansions(parts: list[str | None], options: list[dict[str, tuple[str, ...]]]) -> list[Scansion]:
    """Every choice of one stress pattern for each slot that makes the line scan."""
    found: list[Scansion] = []

    def extend(index: int, slot: int, position: int, chosen: list[tuple[str, ...]]) -> None:
        if index == len(parts):
            if position == SYLLABLES:
                count = 1
                for words in chosen:
                    count *= len(words)
                found.append(Scansion(words=tuple(chosen), count=count))
            return
        part = parts[index]
        fitting = {part: ()} if part is not None else options[slot]
        for pattern, words in fitting.items():
            if position + len(pattern) > SYLLABLES or not _fits(pattern, position):
                continue
            if part is None:
                extend(index + 1, slot + 1, position + len(pattern), [*chosen, words])
            else:
                extend(index + 1, slot, position + len(pattern), chosen)

    extend(0, 0, 0, [])
    return found


def _fits(pattern: str, position: int) -> bool:
    if pattern in FREE:
        return True
    if pattern == "0":
        return position % 2 == 0
    return all(
        mark != "1" or (position + offset) % 2 == 1 or position + offset == 0 for offset, mark in enumerate(pattern)
    )
