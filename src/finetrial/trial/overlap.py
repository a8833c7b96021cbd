"""Find the examples of one split that stand in another too, word for word or nearly.

Word for word: the compared text is the same without white space and capitals. Nearly: at least half of its runs of
eight words stand in one example of the other split. Runs that many prompts share, such as an instruction, do not
count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.trial.drafts import compared_text
from finetrial.trial.examples import Example, SplitName, Splits
from finetrial.trial.shingles import WordHasher

# PaLM (Chowdhery et al. 2022, section 8) counts an example as contaminated when 70 % of its 8-grams stand somewhere
# in the training data. Against one single example half is as telling (assumption).
RUN_WORDS = 8
NEAR_SHARE = 0.5
# Fewer runs than this are too few to speak of a share (assumption).
LEAST_RUNS = 4
# A run that stands in more than this share of the evaluated prompts, and in more than three, is boilerplate
# (assumption).
BOILERPLATE_SHARE = 0.05
BOILERPLATE_LEAST = 3

EVALUATED: tuple[SplitName, ...] = ("heldout", "validation")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two examples that are the same or nearly so."""

    split: SplitName  # of the evaluated example
    origin: str
    other_split: SplitName
    other_origin: str
    share: float  # of the evaluated example's runs that stand in the other; 1.0 when word for word

    def __str__(self) -> str:
        return f"{self.origin} ({self.split}) and {self.other_origin} ({self.other_split})"


def exact_pairs(splits: Splits, *, whole: bool) -> tuple[Pair, ...]:
    """Every held-out or validation example whose compared text stands in a split after it, once each."""
    pairs: list[Pair] = []
    seen: dict[str, tuple[SplitName, str]] = {}
    for split, examples in splits.by_name.items():
        mine: dict[str, tuple[SplitName, str]] = {}
        for example in examples:
            text = compared_text(example, whole=whole)
            if text in seen:
                other, origin = seen[text]
                pairs.append(Pair(split, example.origin, other, origin, 1.0))
            mine.setdefault(text, (split, example.origin))
        seen |= mine
    return tuple(pairs)


def duplicates(examples: Sequence[Example], *, whole: bool) -> tuple[tuple[str, str], ...]:
    """Origins of examples that repeat an earlier one of the same split, each with the earlier's."""
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for example in examples:
        text = compared_text(example, whole=whole)
        if text in first:
            found.append((first[text], example.origin))
        else:
            first[text] = example.origin
    return tuple(found)


class _Index:
    """The counted runs of the evaluated examples: run -> which of them hold it."""

    def __init__(self, texts: Sequence[str], *, hasher: WordHasher) -> None:
        owners: dict[int, list[int]] = defaultdict(list)
        for number, text in enumerate(texts):
            for run in np.unique(hasher.shingles(text, words=RUN_WORDS)).tolist():
                owners[run].append(number)
        most = max(BOILERPLATE_LEAST, int(BOILERPLATE_SHARE * len(texts)))
        kept = sorted(run for run, who in owners.items() if len(who) <= most)
        self._runs = np.array(kept, dtype=np.uint64)
        self._owners = [np.array(owners[run]) for run in kept]
        held = np.concatenate(self._owners) if self._owners else np.empty(0, dtype=np.int64)
        self._counts = np.bincount(held, minlength=len(texts))

    def matches(self, runs: np.ndarray) -> dict[int, float]:
        """The evaluated examples of which at least NEAR_SHARE of the runs stand among `runs`, with the share."""
        if not len(self._runs):
            return {}
        runs = np.unique(runs)
        places = np.minimum(np.searchsorted(self._runs, runs), len(self._runs) - 1)
        hits = places[self._runs[places] == runs]
        if len(hits) < LEAST_RUNS * NEAR_SHARE:
            return {}
        found = np.bincount(np.concatenate([self._owners[i] for i in hits]), minlength=len(self._counts))
        near = np.flatnonzero((self._counts >= LEAST_RUNS) & (found >= NEAR_SHARE * self._counts))
        return {int(i): float(found[i] / self._counts[i]) for i in near}


def near_pairs(splits: Splits, *, whole: bool) -> tuple[Pair, ...]:
    """Every evaluated example that stands nearly, but not word for word, in another split; its best match each."""

    def text(example: Example) -> str:
        return "".join((example.prompt, *example.references[:1])) if whole else example.prompt

    hasher = WordHasher()
    best: dict[tuple[SplitName, int], Pair] = {}
    against: dict[SplitName, tuple[SplitName, ...]] = {"heldout": ("train", "validation"), "validation": ("train",)}
    by_name = {"train": splits.train, "validation": splits.validation, "heldout": splits.heldout}
    indices = {
        split: _Index([text(example) for example in by_name[split]], hasher=hasher)
        for split in EVALUATED
        if by_name[split]
    }
    for other_split in ("train", "validation"):
        facing = [split for split in indices if other_split in against[split]]
        for other in by_name[other_split] if facing else ():
            runs = hasher.shingles(text(other), words=RUN_WORDS)
            for split in facing:
                for number, share in indices[split].matches(runs).items():
                    example = by_name[split][number]
                    same = compared_text(example, whole=whole) == compared_text(other, whole=whole)
                    known = best.get((split, number))
                    if not same and (known is None or share > known.share):
                        best[split, number] = Pair(split, example.origin, other_split, other.origin, share)
    return tuple(best[key] for key in sorted(best))
