"""What do the grades say once they are locked and the key is open?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetrial.grading.events import GradeBook
from finetrial.stats.agreement import Agreement, krippendorff_alpha, raw_agreement
from finetrial.stats.bradley_terry import BradleyTerry, bradley_terry
from finetrial.stats.guessing import Guessing, guessing_test
from finetrial.stats.intervals import GoodOfN, good_of_n
from finetrial.store.grade_key import read_key, unblinded_grades, unblinded_guesses, unblinded_pairs
from finetrial.store.grades import (
    Consistency,
    consistency,
    grading_state,
    median_seconds,
    read_grades,
)
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Grade, UnblindedGrade, UnblindedPair


@dataclass(frozen=True, slots=True)
class ArmGrades:
    """How people judged one arm. A sample that several raters graded is good by their majority."""

    arm: str
    good: int  # samples
    bad: int
    unsure: int  # nobody could tell, or an even vote
    ungraded: int
    interval: GoodOfN  # good of good + bad


@dataclass(frozen=True, slots=True)
class Unblinded:
    """Everything that grading found."""

    locked_at: str
    newly_locked: bool
    opened_at: str | None
    raters: tuple[str, ...]
    grades: int
    not_blind: int  # grades given after somebody had opened the key
    median_seconds: float | None
    arms: tuple[ArmGrades, ...]
    agreement: Agreement | None  # Krippendorff's alpha, nominal; None with one rater
    raw: Agreement | None
    consistency: tuple[Consistency, ...]
    guesses: Guessing | None
    pairs: BradleyTerry | None
    compared: int  # side-by-side choices


@dataclass(frozen=True, slots=True)
class StillOpen:
    """What nobody has graded yet."""

    items: int
    of: int


def still_open(folder: TrialFolder) -> StillOpen:
    """How many of the items set aside have no grade at all."""
    state = grading_state(folder)
    of = state.settings.items if state.settings else 0
    graded = {grade.item_id for grade in read_grades(folder) if not grade.repeat}
    return StillOpen(max(0, of - len(graded)), of)


def lock(folder: TrialFolder) -> bool:
    """Lock the grades for good; False when they were locked before."""
    book = GradeBook(folder.grades)
    try:
        return book.lock()
    finally:
        book.close()


def _vote(values: Sequence[str]) -> float | None:
    """1 good, 0 bad by majority; None for an even vote, for `unsure` alone, and for no grade."""
    balance = values.count("good") - values.count("bad")
    return None if balance == 0 else float(balance > 0)


def _by_arm(folder: TrialFolder, grades: Sequence[UnblindedGrade]) -> tuple[ArmGrades, ...]:
    key = read_key(folder)
    values: dict[str, list[str]] = {}
    for grade in grades:
        values.setdefault(grade.sample_id, []).append(grade.value)
    cells: dict[str, dict[str, list[tuple[str, str, float | None, bool]]]] = {}
    for item_id, samples in key.items.items():
        for s in samples:
            given = values.get(s.sample_id, [])
            row = cells.setdefault(s.arm, {}).setdefault(s.prompt_id, [])
            row.append((s.sample_id, item_id, _vote(given), bool(given)))
    result = []
    for arm, prompts in sorted(cells.items()):
        rows = [row for prompt in prompts.values() for row in prompt]
        judged = [row for row in rows if row[2] is not None]
        interval = good_of_n(
            {prompt: [row[2] for row in members] for prompt, members in prompts.items()},
            n_distinct=len({row[1] for row in judged}) or None,
        )
        good = sum(row[2] == 1 for row in judged)
        graded = sum(row[3] for row in rows)
        result.append(ArmGrades(arm, good, len(judged) - good, graded - len(judged), len(rows) - graded, interval))
    return tuple(result)


def _ratings(grades: Sequence[Grade]) -> list[list[str | None]]:
    """Raters x items; None where a rater did not grade."""
    values: Mapping[tuple[str, str], str] = {(g.rater, g.item_id): g.value for g in grades if not g.repeat}
    raters = sorted({rater for rater, _ in values})
    items = sorted({item for _, item in values})
    return [[values.get((rater, item)) for item in items] for rater in raters]


def _strengths(pairs: Sequence[UnblindedPair]) -> BradleyTerry | None:
    if not pairs:
        return None
    wins: dict[tuple[str, str], float] = {}
    for pair in pairs:
        a, b = pair.arm_a, pair.arm_b
        share = {"a": 1.0, "b": 0.0, "tie": 0.5}[pair.winner]
        wins[a, b] = wins.get((a, b), 0.0) + share
        wins[b, a] = wins.get((b, a), 0.0) + 1 - share
    return bradley_terry(wins)


def unblinded(folder: TrialFolder, *, newly_locked: bool) -> Unblinded:
    """Read what the locked grades say. Raises AnswerIsNo while they are not locked."""
    joined = unblinded_grades(folder)
    grades, state = read_grades(folder), grading_state(folder)
    ratings = _ratings(grades)
    guesses = unblinded_guesses(folder)
    pairs = unblinded_pairs(folder)
    assert state.locked_at is not None
    several = len(ratings) > 1
    return Unblinded(
        locked_at=state.locked_at,
        newly_locked=newly_locked,
        opened_at=state.opened_at,
        raters=tuple(sorted({grade.rater for grade in grades} | {p.rater for p in pairs if p.rater})),
        grades=sum(not grade.repeat for grade in grades),
        not_blind=sum(not grade.blind for grade in grades),
        median_seconds=median_seconds(grades),
        arms=_by_arm(folder, joined) if grades else (),
        agreement=krippendorff_alpha(ratings, level="nominal") if several else None,
        raw=raw_agreement(ratings) if several else None,
        consistency=consistency(grades),
        guesses=guessing_test([g.guessed for g in guesses], [g.arms for g in guesses]) if guesses else None,
        pairs=_strengths(pairs),
        compared=sum(pair.rater is not None for pair in pairs),
    )
