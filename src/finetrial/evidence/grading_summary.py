"""Summarise the grading: blindness, consistency, speed, and choices between pairs.

What people said of each arm is `evidence.grade_statistics`'s; this is about the grading itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from finetrial.evidence.findings import GradingSummary
from finetrial.stats.bradley_terry import BradleyTerry, bradley_terry
from finetrial.stats.guessing import guessing_test
from finetrial.store.grade_key import unblinded_guesses, unblinded_pairs
from finetrial.store.grade_records import MODEL, UnblindedPair
from finetrial.store.grades import (
    consistency,
    grading_state,
    median_seconds,
    read_grades,
    read_pair_grades,
    too_fast,
)
from finetrial.store.layout import TrialFolder


def arm_strengths(pairs: Sequence[UnblindedPair], *, seed: int = 0) -> BradleyTerry | None:
    """Bradley-Terry over side-by-side choices, a tie half a win to each, bounds over prompts; None without any."""
    if not pairs:
        return None
    prompts: dict[str, dict[tuple[str, str], float]] = {}
    for pair in pairs:
        wins, a, b = prompts.setdefault(pair.prompt_id, {}), pair.arm_a, pair.arm_b
        share = {"a": 1.0, "b": 0.0, "tie": 0.5}[pair.winner]
        wins[a, b] = wins.get((a, b), 0.0) + share
        wins[b, a] = wins.get((b, a), 0.0) + 1 - share
    return bradley_terry(list(prompts.values()), seed=seed)


def people_pairs(pairs: Sequence[UnblindedPair]) -> tuple[UnblindedPair, ...]:
    """The choices of people, with the ties of identical texts where people chose anything."""
    mine = [pair for pair in pairs if pair.rater_kind != MODEL]
    return tuple(mine) if any(pair.rater is not None for pair in mine) else ()


def grading_summary(folder: TrialFolder, *, open_grades: bool = False, seed: int = 0) -> GradingSummary:
    """Summarise the grading by people. Raises AnswerIsNo before the grades are locked, unless `open_grades`."""
    guesses = unblinded_guesses(folder, open_grades=open_grades)
    pairs = people_pairs(unblinded_pairs(folder, open_grades=open_grades))
    grades = [grade for grade in read_grades(folder) if grade.rater_kind != MODEL]
    choices = [choice for choice in read_pair_grades(folder) if choice.rater_kind != MODEL]
    settings = grading_state(folder).settings
    tested = None
    if guesses:
        tested = guessing_test([guess.guessed for guess in guesses], [guess.arms for guess in guesses], seed=seed)
    return GradingSummary(
        raters=tuple(sorted({g.rater for g in grades} | {p.rater for p in pairs if p.rater is not None})),
        grades=sum(not grade.repeat for grade in grades),
        not_blind=sum(not grade.blind for grade in grades),
        opened_at=grading_state(folder).opened_at,
        median_seconds=median_seconds(grades),
        consistency=consistency(grades),
        guesses=tested,
        strengths=arm_strengths(pairs, seed=seed),
        choices=sum(pair.rater is not None for pair in pairs),
        kinds={g.rater: g.rater_kind for g in grades} | {c.rater: c.rater_kind for c in choices},
        rule=settings.scale.rule() if settings is not None and settings.scale is not None else None,
        too_fast=too_fast(grades),
    )
