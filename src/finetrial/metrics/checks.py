"""Define the checks for what goes wrong in one text.

Each check looks at one text in its place: the prompt, the references, how the generation ended. The same checks are
put to the references, each beside the others, so that every rate has people's own rate beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from finetrial.metrics.artifacts import (
    boilerplate,
    code,
    commentary,
    copied_headers,
    other_language,
    overlong,
    role_markers,
    second_document,
)
from finetrial.metrics.beside_prompt import near_words, question_kept
from finetrial.metrics.copying import Copying, TrainingText, copied_from_training, copying
from finetrial.metrics.passages import Finding, Passage, Span
from finetrial.metrics.repetition import ending, repeated_ngrams, repeated_sentences, terminal_loop
from finetrial.metrics.unsupported import novel_words, unsupported_names, unsupported_numbers

GRUSKY = "Grusky et al. 2018, equations 1 and 2"


@dataclass(frozen=True, slots=True)
class Case:
    """One text in its place. `references` are those it is held to: for a reference, the others of its prompt."""

    passage: Passage
    source: Passage  # the prompt as the data gave it; without any text where it is not known
    references: Sequence[Passage]
    end_reason: str | None
    training: TrainingText | None
    dictionaries: Collection[Collection[str]]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How much of it there is in a text, and where. None: the text cannot be asked."""

    value: float | None
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One diagnostic. An arm's rate is the mean of `measure` over its texts: of 0 and 1, or of shares."""

    name: str
    definition: str
    measure: Callable[[Case], CheckResult]
    source: str | None = None
    unit: Literal["share", "words"] = "share"


def _rate(finding: Finding) -> CheckResult:
    return CheckResult(finding.rate, finding.spans)


def _any(finding: Finding) -> CheckResult:
    """1 where anything was found."""
    return CheckResult(None if finding.rate is None else float(bool(finding.spans)), finding.spans)


def _empty(case: Case) -> CheckResult:
    return CheckResult(float(not case.passage.text.strip()))


def _unfinished(case: Case) -> CheckResult:
    found = ending(case.passage, end_reason=case.end_reason)
    if found.is_unfinished is None:
        return CheckResult(None)
    return CheckResult(float(found.is_unfinished), (found.tail,) if found.tail and found.is_unfinished else ())


def _loop(case: Case) -> CheckResult:
    if not case.passage.text.strip():
        return CheckResult(None)
    loop = terminal_loop(case.passage)
    return CheckResult(float(loop.span is not None), (loop.span,) if loop.span else ())


def _of_prompt(measure: Callable[[Case], CheckResult]) -> Callable[[Case], CheckResult]:
    """The measure where the prompt is known; without it nothing can be said."""
    return lambda case: measure(case) if case.source.text.strip() else CheckResult(None)


def _copied(case: Case) -> Copying:
    """Shared by four checks: the passage keeps it."""
    return case.passage.derive(_CopiedFrom(case.source))


class _CopiedFrom:
    """Copying from one source, to be kept by the passage that asks; equal for equal sources."""

    def __init__(self, source: Passage) -> None:
        self._source = source

    def __call__(self, passage: Passage) -> Copying:
        return copying(passage, source=self._source)

    def __hash__(self) -> int:
        return hash(id(self._source))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _CopiedFrom) and other._source is self._source


def _coverage(case: Case) -> CheckResult:
    return CheckResult(_copied(case).coverage)


def _density(case: Case) -> CheckResult:
    return CheckResult(_copied(case).density)


def _longest_run(case: Case) -> CheckResult:
    found = _copied(case)
    return CheckResult(None if found.coverage is None else float(found.longest_words))


def _copied_back(case: Case) -> CheckResult:
    found = _copied(case)
    if found.coverage is None:
        return CheckResult(None)
    # Four words are needed so that a title of two words that stands in the prompt is no copy of it; assumption.
    is_copy = found.longest_words >= 4 and 2 * found.longest_words > len(case.passage.words)
    return CheckResult(float(is_copy), found.spans[:1] if is_copy else ())


def _from_training(case: Case) -> CheckResult:
    return (
        CheckResult(None)
        if case.training is None
        else _rate(copied_from_training(case.passage, training=case.training))
    )


def _far_too_long(case: Case) -> CheckResult:
    return _any(overlong(case.passage, references=case.references))


def _other_language(case: Case) -> CheckResult:
    return _any(other_language(case.passage, expected=[case.source, *case.references]))


def _novel(case: Case) -> CheckResult:
    return _rate(novel_words(case.passage, dictionaries=case.dictionaries))


def _near(case: Case) -> CheckResult:
    return _any(near_words(case.passage, prompt=case.source, dictionaries=case.dictionaries))


CHECKS = (
    Check("empty", "no text at all", _empty),
    Check(
        "unfinished",
        "truncated at the limit of tokens; where no end reason is known, as of references: no closing mark",
        _unfinished,
    ),
    Check("loop to the end", "ends in one unit said over and over, three full copies or more", _loop),
    Check(
        "repeated 4-grams",
        "share of the 4-grams of words that stood before in the text (rep-4)",
        lambda case: _rate(repeated_ngrams(case.passage)),
        source="Welleck et al. 2019, section 6.1",
    ),
    Check(
        "repeated sentence",
        "says a sentence again, word for word",
        lambda case: _any(repeated_sentences(case.passage)),
    ),
    Check(
        "copied words",
        "share of the words inside fragments copied from the prompt (coverage)",
        _of_prompt(_coverage),
        GRUSKY,
    ),
    Check(
        "copied fragment",
        "mean length of the copied fragment that a word stands in (density)",
        _of_prompt(_density),
        source=GRUSKY,
        unit="words",
    ),
    Check(
        "longest copied run",
        "longest fragment copied from the prompt",
        _of_prompt(_longest_run),
        source=GRUSKY,
        unit="words",
    ),
    Check(
        "prompt copied back",
        "one run copied from the prompt is more than half of the text",
        _of_prompt(_copied_back),
    ),
    Check(
        "copied headers",
        "headers of a post anywhere in a line, of the prompt or by their form, such as TITLE:",
        lambda case: _any(copied_headers(case.passage, prompt=case.source)),
    ),
    Check(
        "copied from training",
        "share of the words in runs of eight that stand in the training text",
        _from_training,
        source="runs of eight: Chowdhery et al. 2022, section 8",
    ),
    Check("code", "lines of code or code within a line", lambda case: _any(code(case.passage))),
    Check(
        "boilerplate",
        "notices, links, calls to subscribe, 'as an AI language model'",
        lambda case: _any(boilerplate(case.passage)),
    ),
    Check(
        "commentary",
        "speaks about a text instead of being one, such as 'This poem was written by'",
        lambda case: _any(commentary(case.passage)),
    ),
    Check(
        "role markers",
        "marks of a dialogue or an instruction format, such as User:",
        lambda case: _any(role_markers(case.passage)),
    ),
    Check(
        "second document",
        "another document begins: an end marker, a separator, a header of a post",
        lambda case: _any(second_document(case.passage, prompt=case.source)),
    ),
    Check(
        "other language",
        "words or sentences in a script or language of neither prompt nor references",
        _other_language,
    ),
    Check("far too long", "more than three times as many words as the longest reference", _far_too_long),
    Check(
        "unsupported number",
        "of the texts that hold a number, those with one that stands nowhere in the prompt",
        _of_prompt(lambda case: _any(unsupported_numbers(case.passage, source=case.source))),
        source="after Nan et al. 2021, source precision",
    ),
    Check(
        "unsupported name",
        "of the texts that hold a name, those with one that is not all in the prompt",
        _of_prompt(lambda case: _any(unsupported_names(case.passage, source=case.source))),
        source="after Nan et al. 2021, source precision",
    ),
    Check(
        "novel words",
        "share of the words that neither the prompts, the training text nor the references hold, stems counted",
        _novel,
    ),
    Check(
        "misspelt from prompt",
        "holds an unknown word that is one edit from a word of the prompt",
        _of_prompt(_near),
        source="Damerau 1964",
    ),
    Check(
        "question kept",
        "of the prompts that ask something, the texts with a question that shares half of its words",
        _of_prompt(lambda case: _rate(question_kept(case.passage, prompt=case.source))),
    ),
)
