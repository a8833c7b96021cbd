"""Say how far the grading of a trial has come. Nothing here knows an arm, so nothing here says which one leads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from finetrial.store.grade_records import MODEL
from finetrial.store.grades import grading_state, read_grades
from finetrial.store.layout import TrialFolder


@dataclass(frozen=True, slots=True)
class GradingProgress:
    """What people are to grade, and what they have graded; hidden repeats are left out."""

    items: int  # different texts
    prompts: int
    asked: int  # raters of each text
    counted: int  # grades of at most so many raters a text
    by_rater: Mapping[str, int]
    locked: bool

    @property
    def wanted(self) -> int:
        return self.items * self.asked

    @property
    def is_complete(self) -> bool:
        return self.counted >= self.wanted


def grading_progress(folder: TrialFolder) -> GradingProgress | None:
    """How far the grading has come; None where nothing was set aside."""
    state = grading_state(folder)
    if state.settings is None or not state.settings.items:
        return None
    raters: dict[str, set[str]] = defaultdict(set)
    given: Counter[str] = Counter()
    for grade in read_grades(folder):
        if grade.rater_kind != MODEL and not grade.repeat:
            raters[grade.item_id].add(grade.rater)
            given[grade.rater] += 1
    return GradingProgress(
        items=state.settings.items,
        prompts=state.settings.prompts,
        asked=state.settings.raters,
        counted=sum(min(len(names), state.settings.raters) for names in raters.values()),
        by_rater={name: given[name] for name in sorted({*state.raters, *given})},
        locked=state.locked_at is not None,
    )
