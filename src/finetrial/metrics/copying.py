"""Measure how much of a text is copied from its prompt or from the training text.

Show each rate beside the reference texts' own: a human summary also copies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from finetrial.metrics.passages import Finding, Passage, Span, Word
from finetrial.metrics.tokens import unicode_tokens

# Length in words of a run that counts as taken from the training text. PaLM (Chowdhery et al. 2022, section 8)
# calls a prompt contaminated by shared 8-grams; shorter runs are common phrases.
TRAINING_RUN_WORDS = 8


@dataclass(frozen=True)
class Copying:
    """Extractive fragments of a text.

    `coverage` is the share of words inside fragments, `density` the mean length of the fragment that a word
    stands in, `longest_words` the longest fragment, and `spans` all fragments of two words or more, longest
    first.
    """

    coverage: float | None
    density: float | None
    longest_words: int
    spans: tuple[Span, ...]
    reason: str | None = None


class _Index:
    """Where each word of a text stands."""

    def __init__(self, passage: Passage) -> None:
        self.tokens = passage.tokens
        self._places: dict[str, list[int]] = defaultdict(list)
        for i, token in enumerate(self.tokens):
            self._places[token].append(i)

    def longest_match(self, tokens: Sequence[str], first: int) -> int:
        """How many tokens from `first` on stand here in one run."""
        best = 0
        for place in self._places.get(tokens[first], ()):
            most = min(len(tokens) - first, len(self.tokens) - place)
            if most <= best or tokens[first + best] != self.tokens[place + best]:
                continue  # cannot be longer than the best so far
            length = 1
            while length < most and tokens[first + length] == self.tokens[place + length]:
                length += 1
            best = max(best, length)
        return best


def copying(text: str | Passage, *, source: str | Passage) -> Copying:
    """Coverage sum |f| / |y| and density sum |f|² / |y| of the greedy extractive fragments f of the text y.

    Grusky, Naaman & Artzi, "Newsroom", 2018, equations 1 and 2 and figure 3.
    """
    passage, index = Passage.of(text), Passage.of(source).derive(_Index)
    found, tokens = passage.words, passage.tokens
    if not found:
        return Copying(None, None, 0, (), "the text has no words")
    fragments: list[Sequence[Word]] = []
    i = 0
    while i < len(tokens):
        length = index.longest_match(tokens, i)
        if length:
            fragments.append(found[i : i + length])
        i += max(length, 1)
    fragments.sort(key=len, reverse=True)
    return Copying(
        coverage=sum(map(len, fragments)) / len(tokens),
        density=sum(len(f) ** 2 for f in fragments) / len(tokens),
        longest_words=len(fragments[0]) if fragments else 0,
        spans=tuple(passage.span(f[0].start, f[-1].end) for f in fragments if len(f) > 1),
    )


class TrainingText:
    """The runs of eight words that stand in the training text, as 64-bit hashes."""

    def __init__(self, texts: Iterable[str], *, run_words: int = TRAINING_RUN_WORDS) -> None:
        self.run_words = run_words
        self._runs: set[int] = set()
        for text in texts:
            self._runs.update(hash(run) for run in _runs(unicode_tokens(text), run_words))

    def __contains__(self, run: tuple[str, ...]) -> bool:
        return hash(run) in self._runs


def _runs(tokens: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def copied_from_training(text: str | Passage, *, training: TrainingText) -> Finding:
    """Share of the words that lie in a run of `run_words` words which stands in the training text, and the runs."""
    name, n = "copied_from_training", training.run_words
    passage = Passage.of(text)
    found = passage.words
    if not found:
        return Finding(name, None, (), "the text has no words")
    starts = [i for i, run in enumerate(_runs(passage.tokens, n)) if run in training]
    covered = {i + j for i in starts for j in range(n)}
    spans = passage.merged([(found[i].start, found[i + n - 1].end) for i in starts])
    return Finding(name, len(covered) / len(found), spans)
