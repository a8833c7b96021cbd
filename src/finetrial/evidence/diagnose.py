"""Measure how often each check finds something, in each arm and in the references."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from finetrial.evidence.findings import Diagnostic, Example
from finetrial.metrics.checks import CHECKS, Case, Check, CheckResult
from finetrial.metrics.copying import TrainingText
from finetrial.metrics.diversity import sample_diversity
from finetrial.metrics.passages import Passage
from finetrial.metrics.unsupported import known_words
from finetrial.store.records import Sample
from finetrial.trial.examples import Example as DataExample
from finetrial.trial.subset import sampled_prompts

MOST_TEXTS = 3_000  # looked at; beyond, a seeded choice of prompts: about a millisecond and a half each
_EXAMPLES = 2  # of an arm and check
_QUOTE = 160  # characters

_ALIKE = "samples alike"
_REFERENCES = ""  # stands where an arm's name would


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The diagnostics, and at how many of how many prompts they looked."""

    diagnostics: tuple[Diagnostic, ...]
    n_prompts: int
    of_prompts: int
    with_training: bool


class _AllButOne(Collection[str]):
    """A dictionary of every prompt's references but one prompt's own, without copying it."""

    def __init__(self, counts: Counter[str], own: frozenset[str]) -> None:
        self._counts, self._own = counts, own

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._counts[word] > (word in self._own)

    def __iter__(self) -> Iterator[str]:
        return (word for word in self._counts if word in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(slots=True)
class _Tally:
    """The values of one check in one arm, and its worst places."""

    values: list[float] = field(default_factory=list)
    places: list[tuple[float, str, Example]] = field(default_factory=list)

    def add(self, struck: CheckResult, sample: Sample | None) -> None:
        if struck.value is None:
            return
        self.values.append(struck.value)
        if sample is not None and struck.value > 0 and struck.spans:
            quote = max(struck.spans, key=lambda span: (len(span.text), -span.start)).text
            example = Example(sample.arm, sample.id, sample.prompt_id, _quoted(quote))
            # one of each prompt: k samples of one prompt often fail alike
            worst: dict[str, tuple[float, str, Example]] = {}
            for place in sorted([*self.places, (-struck.value, sample.id, example)], key=lambda p: p[:2]):
                worst.setdefault(place[2].prompt_id, place)
            self.places = list(worst.values())[:_EXAMPLES]

    @property
    def rate(self) -> float | None:
        return math.fsum(self.values) / len(self.values) if self.values else None


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTE else line[: _QUOTE - 1].rstrip() + "…"


def _chosen(samples: Sequence[Sample], *, seed: int) -> frozenset[str]:
    """The prompts to look at: all, or as many as hold MOST_TEXTS texts."""
    prompts = sorted({sample.prompt_id for sample in samples})
    n_texts = len(samples) + sum(len(refs) for refs in {s.prompt_id: s.references for s in samples}.values())
    if n_texts <= MOST_TEXTS:
        return frozenset(prompts)
    count = max(1, len(prompts) * MOST_TEXTS // n_texts)
    return frozenset(sampled_prompts(prompts, count=count, seed=seed))


def _source(sample: Sample) -> str:
    return sample.source if sample.source is not None else sample.prompt


def training_texts(examples: Iterable[DataExample]) -> list[str]:
    """What the arms learned from, as diagnostics look for copies of it."""
    return [text for example in examples for text in (example.prompt, *example.references)]


def diagnose(samples: Sequence[Sample], *, training: Iterable[str] | None = None, seed: int = 0) -> Diagnosis:
    """Put every check to every sample and reference; beyond MOST_TEXTS, to those of a seeded choice of prompts.

    `training` are the texts that the arms were trained on, prompts and completions; without them copying from
    training is not asked.
    """
    chosen = _chosen(samples, seed=seed)
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.prompt_id in chosen:
            rows[sample.prompt_id].append(sample)
    references = {p: next((s.references for s in row if s.references), ()) for p, row in rows.items()}
    words = {p: known_words(texts) for p, texts in references.items()}
    counts = Counter(word for known in words.values() for word in known)
    trained = None if training is None else list(training)
    shared = [known_words({_source(s) for row in rows.values() for s in row})]
    shared += [] if trained is None else [known_words(trained)]
    text = None if trained is None else TrainingText(trained)

    tallies: dict[tuple[str, str], _Tally] = defaultdict(_Tally)
    for prompt, row in sorted(rows.items()):
        sources = {s: Passage(s) for s in dict.fromkeys(map(_source, row))}
        passages = [Passage(reference) for reference in references[prompt]]
        for sample in row:
            dictionaries = [*shared, counts]
            source = sources[_source(sample)]
            case = Case(Passage(sample.text), source, passages, sample.end_reason, text, dictionaries)
            _ask(case, arm=sample.arm, sample=sample, tallies=tallies)
        source = next(iter(sources.values()))
        for place, passage in enumerate(passages):
            dictionaries = [*shared, _AllButOne(counts, words[prompt])]
            others = [*passages[:place], *passages[place + 1 :]]
            case = Case(passage, source, others, None, text, dictionaries)
            _ask(case, arm=_REFERENCES, sample=None, tallies=tallies)
        texts: dict[str, list[str]] = {_REFERENCES: list(references[prompt])}
        for sample in row:
            texts.setdefault(sample.arm, []).append(sample.text)
        for arm, several in texts.items():
            tallies[_ALIKE, arm].add(CheckResult(sample_diversity(several).similarity), None)
    arms = tuple(dict.fromkeys(sample.arm for sample in samples))
    diagnostics = tuple(_diagnostic(check, arms=arms, tallies=tallies) for check in CHECKS)
    alike = Diagnostic(
        name=_ALIKE,
        definition="mean ROUGE-L F of every two samples of one prompt",
        arms={arm: tallies[_ALIKE, arm].rate for arm in arms},
        references=tallies[_ALIKE, _REFERENCES].rate,
        source="after Zhu et al. 2018, self-BLEU",
    )
    return Diagnosis(
        (*diagnostics, alike),
        n_prompts=len(rows),
        of_prompts=len({sample.prompt_id for sample in samples}),
        with_training=trained is not None,
    )


def _ask(case: Case, *, arm: str, sample: Sample | None, tallies: dict[tuple[str, str], _Tally]) -> None:
    for check in CHECKS:
        tallies[check.name, arm].add(check.measure(case), sample)


def _diagnostic(check: Check, *, arms: Sequence[str], tallies: dict[tuple[str, str], _Tally]) -> Diagnostic:
    return Diagnostic(
        name=check.name,
        definition=check.definition,
        arms={arm: tallies[check.name, arm].rate for arm in arms},
        references=tallies[check.name, _REFERENCES].rate,
        source=check.source,
        unit=check.unit,
        examples=tuple(place[2] for arm in arms for place in tallies[check.name, arm].places),
    )
