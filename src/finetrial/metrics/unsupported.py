"""Find the numbers, names and words of a text that stand nowhere in its source.

What the source does not hold may be invented. Names and numbers carry facts, and an invented one is an error
more often than an invented verb (Nan et al., "Entity-level factual consistency of abstractive text
summarization", 2021, whose source precision is one minus the rate here). These are counts of forms, not
judgements of truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable

from finetrial.metrics.passages import Finding, Passage, Span
from finetrial.metrics.porter import porter_stem
from finetrial.metrics.tokens import unicode_tokens

_NUMBER = re.compile(r"(?<![\w.,])[-+−]?(?:\d{1,3}(?:[,\u00a0\u202f]\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_DIGITS_IN_WORD = re.compile(r"\d+(?:\.\d+)?")
_NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        (
            *(
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
            ),
            *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
        )
    )
} | {
    word: 10 * value
    for value, word in enumerate(("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 3)
}
# "one" is a pronoun more often than a number, and is looked for in the source only.
_SPELT_OUT = {word: value for word, value in _NUMBER_WORDS.items() if word != "one"}

_CAPITALISED = re.compile(r"[^\W\d_a-z][\w]*(?:['’-]\w+)*")
# Capitalised wherever they stand, and no names.
_NO_NAMES = frozenset(
    ["i", "i'm", "i’m", "i've", "i’ve", "i'd", "i’d", "i'll", "i’ll", "ok", "o", "oh", "tl", "dr", "tldr", "edit"]
)
# Capitalised by habit or by mistake anywhere in a line ("bad As an old horse-cart"); US and IT, all capitals, may
# be names, and so may words that are given names or months too (Will, May).
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all also although an and any are as at be because been before but by can could "
        "did do does for from had has have he her his how if in into is it its just many me more most "
        "my no not of on or our out over she should so some than that the their them then there these "
        "they this those to too under until up was we were what when where which while who why with "
        "would you your",
    )
)
# What may stand between the words of one name, and what parts a name that is one word.
_JOINS_NAMES = re.compile(r"[ \t]+(?:(?:of|de|van|von)[ \t]+)?")
_PARTS_OF_NAME = re.compile(r"[-–.]|['’](?=\w\w)")
_SHORTEST_WORD = 3  # shorter words are left out of novel words: abbreviations and cut-off ends


def _value(number: str) -> float:
    return float(re.sub("[,\u00a0\u202f]", "", number).replace("−", "-"))


def _numbers(passage: Passage, spelt_out: dict[str, int]) -> list[tuple[float, Span]]:
    found = [(abs(_value(m[0])), passage.span(*m.span())) for m in _NUMBER.finditer(passage.text)]
    found += [
        (float(spelt_out[w.token]), passage.span(w.start, w.end)) for w in passage.words if w.token in spelt_out
    ]
    return sorted(found, key=lambda item: item[1].start)


def _known_values(source: Passage) -> frozenset[float]:
    """The numbers of a source, and the digits inside its words."""
    in_words = {float(digits) for digits in _DIGITS_IN_WORD.findall(source.text)}
    return frozenset(in_words | {value for value, _ in _numbers(source, _NUMBER_WORDS)})


def unsupported_numbers(text: str | Passage, *, source: str | Passage) -> Finding:
    """Share of the numbers, in digits or in words, whose value stands nowhere in `source`; signs do not count.

    `1,000` equals `1000` and `three` equals `3`. Digits inside words of the source (`B2B`, `3D`, `1990s`) count as
    standing there.
    """
    found = _numbers(Passage.of(text), _SPELT_OUT)
    if not found:
        return Finding("unsupported_numbers", None, (), "the text has no number")
    known = Passage.of(source).derive(_known_values)
    missing = [place for value, place in found if value not in known]
    return Finding("unsupported_numbers", len(missing) / len(found), tuple(missing))


def unsupported_names(text: str | Passage, *, source: str | Passage) -> Finding:
    """Share of the names whose words do not all stand in `source`.

    A name is a run of capitalised words. A word that opens a sentence is capitalised anyway, and belongs to a
    name only where it stands capitalised elsewhere in the text. Defined for scripts with capitals, and not
    where most words of the text are capitalised.
    """
    name, passage = "unsupported_names", Passage.of(text)
    capitals = [m for m in _CAPITALISED.finditer(passage.text) if m[0][0].isupper() and _is_name_like(m[0])]
    if len(capitals) > max(3, len(passage.words) / 2):
        return Finding(name, None, (), "most words are capitalised: names cannot be told apart")
    openings = _openings(passage)
    inside = {m[0].casefold() for m in capitals if m.start() not in openings}
    runs: list[list[re.Match[str]]] = []
    for match in capitals:
        if match.start() in openings and match[0].casefold() not in inside:
            continue
        if runs and _JOINS_NAMES.fullmatch(passage.text[runs[-1][-1].end() : match.start()]):
            runs[-1].append(match)
        else:
            runs.append([match])
    if not runs:
        return Finding(name, None, (), "the text has no name")
    known = Passage.of(source).derive(_known_forms)
    missing = [
        passage.span(run[0].start(), run[-1].end())
        for run in runs
        if not all(_bare(part) in known for match in run for part in _PARTS_OF_NAME.split(match[0]) if part)
    ]
    return Finding(name, len(missing) / len(runs), tuple(missing))


def _is_name_like(word: str) -> bool:
    if word[1:].islower() and word.casefold() in _FUNCTION_WORDS:
        return False
    return word.casefold() not in _NO_NAMES and len(word) > 1


def _openings(passage: Passage) -> set[int]:
    """Where the first word of each sentence begins."""
    starts = iter(sorted(word.start for word in passage.words))
    found, place = set(), next(starts, None)
    for sentence in passage.sentences:
        while place is not None and place < sentence.start:
            place = next(starts, None)
        if place is not None and place < sentence.end:
            found.add(place)
    return found


def _bare(word: str) -> str:
    """Without the genitive, and without a plural s: "Smith's" and "GNNs" are supported by "Smith" and "GNN"."""
    bare = re.sub(r"['’]s?$", "", word.casefold())
    return bare[:-1] if bare.endswith("s") and len(bare) > 2 else bare


def _known_forms(source: Passage) -> frozenset[str]:
    """The words of a source as names look them up."""
    return frozenset(_bare(token) for token in source.tokens)


def known_words(texts: Iterable[str], *, stem: Callable[[str], str] = porter_stem) -> frozenset[str]:
    """The dictionary of some texts, for `novel_words`: their words and these words' stems."""
    tokens = {token for text in texts for token in unicode_tokens(text)}
    return frozenset(tokens | {stem(token) for token in tokens})


def novel_words(
    text: str | Passage, *, dictionaries: Collection[Collection[str]], stem: Callable[[str], str] = porter_stem
) -> Finding:
    """Share of the words of three letters or more that no dictionary holds, nor their stems: misspelt or made up.

    Build the dictionaries of source, training text and references with `known_words`, each once.
    """
    passage = Passage.of(text)
    candidates = [w for w in passage.words if w.end - w.start >= _SHORTEST_WORD and w.token.isalpha()]
    if not candidates:
        return Finding("novel_words", None, (), "the text has no word of three letters")
    unknown = [
        word
        for word in candidates
        if not any(word.token in known for known in dictionaries)
        and not any(stem(word.token) in known for known in dictionaries)
    ]
    spans = tuple(passage.span(word.start, word.end) for word in unknown)
    return Finding("novel_words", len(unknown) / len(candidates), spans)
