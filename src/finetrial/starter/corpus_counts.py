"""Count how varied the corpus is, and how much of its test rows stands in the training text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from finetrial.starter.corpus import END_OF_TEXT, CorpusFiles

WORD = re.compile(r"[a-z0-9$]+(?:'[a-z]+)?")
SENTENCE_END = re.compile(r"(?<=[.?!])\s+|\n+")
LONG_SENTENCE_WORDS = 8
NGRAM_SAMPLE_BYTES = 5_000_000


@dataclass(frozen=True)
class Overlap:
    """Of `sentences` held-out sentences, how many stand word for word in the training text."""

    sentences: int
    verbatim: int

    @property
    def share(self) -> float:
        """verbatim / sentences."""
        return self.verbatim / self.sentences


@dataclass(frozen=True)
class CorpusFigures:
    """What can be said of a corpus by counting. Training text is the pretraining text and the tasks' training rows.

    `distinct_ngrams` maps n to (distinct, all) over the first 5 MB of the pretraining text. Sentences are compared
    in small letters, by their words alone.
    """

    pretraining_bytes: int
    pretraining_documents: int
    pretraining_words: int
    vocabulary: int
    vocabulary_seen_ten_times: int
    distinct_ngrams: dict[int, tuple[int, int]]
    post_sentences: Overlap
    long_post_sentences: Overlap
    summaries: Overlap
    titles: Overlap
    verse_prompts: Overlap
    verse_lines: Overlap
    mean_post_words: float
    mean_summary_words: float


def corpus_figures(files: CorpusFiles) -> CorpusFigures:
    """Count a written corpus. Reads the pretraining text whole; a 30 MB text takes about half a minute."""
    text = files.pretraining.read_text(encoding="utf-8")
    counts: dict[str, int] = {}
    for word in WORD.findall(text.lower()):
        counts[word] = counts.get(word, 0) + 1
    tldr = {split: _rows(path) for split, path in files.tldr.items()}
    verse = {split: _rows(path) for split, path in files.verse.items()}

    known = _keys(_sentences(text.replace(END_OF_TEXT, "\n")))
    known |= _keys(sentence for row in tldr["train"] for sentence in _sentences(row["post"]))
    known |= _keys(line for row in verse["train"] for line in _lines(row))
    known_summaries = _keys(row["completion"] for row in tldr["train"])
    known_titles = _keys(row["title"] for row in tldr["train"]) | _keys(
        line.removeprefix("TITLE: ") for line in text.split("\n") if line.startswith("TITLE: ")
    )
    heldout = tldr["heldout"]
    sentences = [sentence for row in heldout for sentence in _sentences(row["post"])]
    return CorpusFigures(
        pretraining_bytes=files.pretraining_bytes,
        pretraining_documents=files.pretraining_documents,
        pretraining_words=sum(counts.values()),
        vocabulary=len(counts),
        vocabulary_seen_ten_times=sum(count >= 10 for count in counts.values()),
        distinct_ngrams=_distinct_ngrams(text[:NGRAM_SAMPLE_BYTES]),
        post_sentences=_overlap(sentences, known=known),
        long_post_sentences=_overlap(
            [sentence for sentence in sentences if len(sentence.split()) >= LONG_SENTENCE_WORDS], known=known
        ),
        summaries=_overlap([row["completion"] for row in heldout], known=known_summaries),
        titles=_overlap([row["title"] for row in heldout], known=known_titles),
        verse_prompts=_overlap([row["prompt"] for row in verse["heldout"]], known=known),
        verse_lines=_overlap([line for row in verse["heldout"] for line in _lines(row)], known=known),
        mean_post_words=sum(len(row["post"].split()) for row in heldout) / len(heldout),
        mean_summary_words=sum(len(row["completion"].split()) for row in heldout) / len(heldout),
    )


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _lines(row: dict[str, str]) -> list[str]:
    return [row["prompt"], *row["completion"].split("\n")]


def _sentences(text: str) -> list[str]:
    return [sentence for sentence in SENTENCE_END.split(text) if sentence.strip()]


def _key(sentence: str) -> str:
    return " ".join(WORD.findall(sentence.lower()))


def _keys(sentences: Iterable[str]) -> set[str]:
    return {_key(sentence) for sentence in sentences}


def _overlap(sentences: list[str], *, known: set[str]) -> Overlap:
    return Overlap(sentences=len(sentences), verbatim=sum(_key(sentence) in known for sentence in sentences))


def _distinct_ngrams(text: str) -> dict[int, tuple[int, int]]:
    words = WORD.findall(text.lower())
    figures = {}
    for n in (1, 2, 3, 4):
        ngrams = set(zip(*(words[start:] for start in range(n)), strict=False))
        figures[n] = (len(ngrams), max(len(words) - n + 1, 0))
    return figures
