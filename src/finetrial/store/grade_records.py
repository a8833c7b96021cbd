"""Define the rows of grading: what was fixed, what raters did, which of it counts, and what it says once unblinded.

`store.records` defines every other row of a trial folder; absent is None here as there.
"""

from __future__ import annotations

import typing
from dataclasses import dataclass

from pydantic import with_config

from finetrial.store.records import STRICT

GradeValue = typing.Literal["good", "bad", "unsure"]
PairValue = typing.Literal["first", "second", "tie"]
EventKind = typing.Literal["grade", "note", "undo", "guess"]
Winner = typing.Literal["a", "b", "tie"]
Side = typing.Literal["first", "second"]
# A stand-in grades in a person's place, such as a program; a model is a judge beside people.
RaterKind = typing.Literal["person", "stand-in", "model"]
MODEL: RaterKind = "model"
# Who graded, as tables and sentences call them: stand-ins are never called people.
RatersWord = typing.Literal["people", "stand-ins", "raters"]


def raters_word(kinds: typing.Collection[RaterKind | None]) -> RatersWord:
    """What to call those who graded, models aside: `raters` where they are of both kinds, or did not declare it."""
    found = set(kinds) - {MODEL}
    if found == {"person"}:
        return "people"
    return "stand-ins" if found == {"stand-in"} else "raters"


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class GradeScale:
    """What raters choose from in place of good and bad, and the one rule by which an answer counts as good."""

    labels: tuple[str, ...]  # in the trial file's order
    good: tuple[str, ...]  # those that count as good; every other label counts as bad

    def value_of(self, label: str) -> GradeValue:
        """Whether a label counts as good or bad."""
        return "good" if label in self.good else "bad"

    def rule(self) -> str:
        """The rule in words."""
        bad = [label for label in self.labels if label not in self.good]
        return f"{_listed(self.good)} count{'s' * (len(self.good) == 1)} as good, {_listed(bad)} as bad"


def _listed(words: typing.Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


@with_config(STRICT)
@dataclass(frozen=True, slots=True)
class GradingSettings:
    """What was fixed before anybody graded: the settings row of grades.sqlite."""

    title: str
    criterion: str | None
    seed: int
    raters: int  # how many are expected; dealing depends on it
    repeats: float  # share of hidden repeats
    arms: tuple[str, ...]  # the names alone, sorted, for the guesses at the end; they point to no item
    prompts: int
    items: int
    items_hash: str
    key_hash: str  # of the sealed key, so that unblinding can prove it is the one that was sealed
    scale: GradeScale | None = None  # None: good or bad
    units: int | None = None  # prompts, those of one group counted once: what a test counts. None: as prompts
    estimator: str = "people"  # what gives the verdict on grades: people, or people+judge
    stopping: dict[str, float] | None = (
        None  # margin and alpha of grading that may stop at any time; None: it is not
    )


@dataclass(frozen=True, slots=True)
class GradeEvent:
    """Something a rater did: a row of the events table of grades.sqlite. Rows are only ever added."""

    uid: str  # made where the key was pressed; the same event sent twice is one event
    kind: EventKind
    mode: typing.Literal["single", "pairs"]
    rater: str
    item_id: str | None  # of an item or a pair; None when an undo found nothing to undo
    occurrence: int  # 1, or 2 for a hidden repeat
    value: str | None  # a GradeValue, a PairValue, or a guessed arm
    reasons: tuple[str, ...]
    note: str | None  # empty: the note was removed
    undoes: str | None  # the uid of the event that no longer counts
    left: Side | None
    position: int | None
    shown_ms: float | None
    client_at: str | None
    at: str | None
    text_hash: str
    rubric_hash: str
    version: str
    source: str  # page, bundle, csv, label-studio or judge
    rater_kind: RaterKind | None = None  # as declared when the page was opened; None: nobody declared it
    label: str | None = None  # the answer as the scale words it, such as 4 of 1 to 5; None: good or bad themselves


@dataclass(frozen=True, slots=True)
class Grade:
    """One rater's judgement of one item that counts: the latest that was not undone."""

    item_id: str
    rater: str
    value: GradeValue
    reasons: tuple[str, ...]
    note: str | None
    seconds: float | None  # on the rater's screen, by a clock that cannot jump
    position: int | None  # in the order that the rater saw, from 0
    repeat: bool  # a hidden repeat: measures consistency, is no second grade
    at: str | None  # UTC
    text_hash: str
    rubric_hash: str
    version: str
    blind: bool  # False: given after somebody had opened the key
    rater_kind: RaterKind | None = None  # None: nobody declared it
    label: str | None = None  # the answer as the scale words it; None: good or bad themselves


@dataclass(frozen=True, slots=True)
class PairGrade:
    """One rater's choice between two items that counts."""

    pair_id: str
    rater: str
    value: PairValue
    left: Side | None  # which of the two stood on the left
    note: str | None
    seconds: float | None
    position: int | None
    at: str | None
    rubric_hash: str
    version: str
    blind: bool
    rater_kind: RaterKind | None = None


@dataclass(frozen=True, slots=True)
class Guess:
    """Which arm a rater believes wrote an item."""

    item_id: str
    rater: str
    arm: str


@dataclass(frozen=True, slots=True)
class UnblindedGrade:
    """A grade joined with one sample that has the graded text; identical texts give one each."""

    sample_id: str
    prompt_id: str
    arm: str  # `references` for references that were mixed in
    item_id: str
    rater: str
    value: GradeValue
    reasons: tuple[str, ...]
    note: str | None
    seconds: float | None
    blind: bool
    rater_kind: RaterKind | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class UnblindedPair:
    """A rater's choice between one sample of `arm_a` and one of `arm_b`."""

    prompt_id: str
    arm_a: str
    arm_b: str
    sample_a: str
    sample_b: str
    rater: str | None  # None: the two texts are identical, a tie that nobody was asked about
    winner: Winner
    rater_kind: RaterKind | None = None


@dataclass(frozen=True, slots=True)
class UnblindedNote:
    """A note of a rater, joined with the samples it is about: two of a pair."""

    rater: str
    text: str
    sample_ids: tuple[str, ...]
    arms: tuple[str, ...]
    prompt_id: str
    of_pair: bool
    rater_kind: RaterKind | None = None


@dataclass(frozen=True, slots=True)
class UnblindedGuess:
    """A guess and the arms that wrote the text: several where texts are identical."""

    item_id: str
    rater: str
    guessed: str
    arms: tuple[str, ...]
