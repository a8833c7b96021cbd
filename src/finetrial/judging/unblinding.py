"""Lock the grades, open the key and summarise what the grades say of each arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from finetrial.evidence.findings import GoodShare, GradingSummary, RaterAgreement
from finetrial.evidence.good_grid import GoodGrid, good_grid
from finetrial.evidence.grade_statistics import good_of_each_arm, rater_agreement
from finetrial.evidence.graded_references import text_of_item
from finetrial.evidence.grading_summary import grading_summary
from finetrial.evidence.score_table import RatedSample
from finetrial.judging.events import GradeBook
from finetrial.judging.outputs_trial import samples_of
from finetrial.store.grade_key import Key, read_key, unblinded_grades
from finetrial.store.grade_records import MODEL, GradeScale, UnblindedGrade
from finetrial.store.grades import grading_state, read_grades
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Item, Sample, read_rows


@dataclass(frozen=True, slots=True)
class ArmGrades:
    """How people judged the samples of one arm; several raters of one sample decide by majority."""

    arm: str
    good: int
    bad: int
    unsure: int  # nobody could tell, or an even vote
    ungraded: int
    share: GoodShare | None  # good of good and bad, with its interval; None: nothing was judged
    labels: Mapping[str, int] = field(default_factory=dict)  # how often each answer of a scale was given


@dataclass(frozen=True, slots=True)
class Unblinded:
    """Everything that grading found."""

    locked_at: str
    newly_locked: bool
    arms: tuple[ArmGrades, ...]
    agreement: RaterAgreement | None  # None without grades
    facts: GradingSummary
    grid: GoodGrid | None = None  # by prompt and arm; None for grades that are numbers


@dataclass(frozen=True, slots=True)
class StillOpen:
    """What nobody has graded yet."""

    items: int
    of: int


def still_open(folder: TrialFolder) -> StillOpen:
    """How many of the items set aside have no grade at all."""
    state = grading_state(folder)
    of = state.settings.items if state.settings else 0
    graded = {grade.item_id for grade in read_grades(folder) if not grade.repeat and grade.rater_kind != MODEL}
    return StillOpen(max(0, of - len(graded)), of)


def lock(folder: TrialFolder) -> bool:
    """Lock the grades for good; False when they were locked before."""
    book = GradeBook(folder.grades)
    try:
        return book.lock()
    finally:
        book.close()


def _set_aside(folder: TrialFolder, key: Key) -> list[Sample]:
    """The samples that stood behind the items for people, the references that were mixed in among them."""
    arms = sorted({sample.arm for members in key.items.values() for sample in members})
    held = {sample.id: sample for sample in samples_of(folder, arms)}
    texts = {item.item_id: item for item in read_rows(folder.items, Item)}
    return [
        held.get(member.sample_id) or text_of_item(member, texts[item_id])
        for item_id, members in key.items.items()
        if texts[item_id].for_people
        for member in members
    ]


def _labels(grades: Sequence[UnblindedGrade], *, arm: str, scale: GradeScale | None) -> dict[str, int]:
    if scale is None:
        return {}
    given = Counter(grade.label for grade in grades if grade.arm == arm)
    return {label: given[label] for label in scale.labels}


def _by_arm(
    samples: Sequence[Sample], unblinded: Sequence[UnblindedGrade], *, scale: GradeScale | None
) -> tuple[ArmGrades, ...]:
    grades = [RatedSample(g.sample_id, g.rater, g.value) for g in unblinded]
    shares = good_of_each_arm(samples, grades)
    graded = {grade.sample_id for grade in grades}
    rows = []
    for arm in sorted({sample.arm for sample in samples}):
        mine = [sample.id in graded for sample in samples if sample.arm == arm]
        share = shares.get(arm)
        good, of = (share.good, share.of) if share is not None else (0, 0)
        labels = _labels(unblinded, arm=arm, scale=scale)
        rows.append(ArmGrades(arm, good, of - good, sum(mine) - of, len(mine) - sum(mine), share, labels))
    return tuple(rows)


def unblinded(folder: TrialFolder, *, newly_locked: bool) -> Unblinded:
    """Read what the locked grades say. Raises AnswerIsNo while they are not locked."""
    graded = [grade for grade in unblinded_grades(folder) if grade.rater_kind != MODEL]
    grades = [RatedSample(g.sample_id, g.rater, g.value) for g in graded]
    samples = _set_aside(folder, read_key(folder))
    state = grading_state(folder)
    assert state.locked_at is not None and state.settings is not None
    return Unblinded(
        locked_at=state.locked_at,
        newly_locked=newly_locked,
        arms=_by_arm(samples, graded, scale=state.settings.scale) if grades else (),
        agreement=rater_agreement(samples, grades),
        facts=grading_summary(folder, seed=state.settings.seed),
        grid=good_grid(sorted(samples, key=lambda s: (s.arm, s.prompt_id)), grades),
    )
