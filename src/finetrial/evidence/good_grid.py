"""Count the good answers of each arm to each prompt: the k of n that stand behind every share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from finetrial.evidence.score_table import RatedSample, as_number
from finetrial.store.records import Sample


@dataclass(frozen=True, slots=True)
class GoodCount:
    """Good answers among those that were called good or bad, and the graded ones that count as neither."""

    good: int
    of: int
    unsure: int = 0  # nobody could tell
    split: int = 0  # as many raters called it good as bad

    def __str__(self) -> str:
        return f"{self.good}/{self.of}" if self.of else "–"


@dataclass(frozen=True, slots=True)
class PromptGrades:
    """One prompt's counts. An arm of which nothing was judged here is left out."""

    prompt_id: str
    prompt: str  # as the data gave it
    arms: Mapping[str, GoodCount]


@dataclass(frozen=True, slots=True)
class GoodGrid:
    """The counts of every prompt and arm, prompts in their order."""

    arms: tuple[str, ...]
    prompts: tuple[PromptGrades, ...]

    def total(self, arm: str) -> GoodCount:
        """The sums of one arm's counts."""
        return _sum_of(row.arms[arm] for row in self.prompts if arm in row.arms)


def _sum_of(counts: Iterable[GoodCount]) -> GoodCount:
    listed = list(counts)
    return GoodCount(
        good=sum(count.good for count in listed),
        of=sum(count.of for count in listed),
        unsure=sum(count.unsure for count in listed),
        split=sum(count.split for count in listed),
    )


def majority(grades: Sequence[RatedSample]) -> dict[str, int]:
    """Each graded sample's good grades less its bad ones: above 0 most raters called it good."""
    balance: dict[str, int] = defaultdict(int)
    for grade in grades:
        number = as_number(grade.value)
        balance[grade.sample_id] += 0 if number is None else 1 if number else -1
    return dict(balance)


def good_grid(samples: Sequence[Sample], grades: Sequence[RatedSample]) -> GoodGrid | None:
    """The good answers by prompt and arm, each sample by the majority of its raters.

    An even vote and an answer of which nobody could tell are neither good nor bad: they are counted apart.
    None without grades, and for grades on a scale of numbers, where nothing says which are good.
    """
    if not grades or any(not isinstance(grade.value, str) and grade.value not in (0, 1) for grade in grades):
        return None
    balance = majority(grades)
    judged = {grade.sample_id for grade in grades if as_number(grade.value) is not None}
    cells: dict[str, dict[str, list[GoodCount]]] = {}
    prompts: dict[str, str] = {}
    for sample in samples:
        if sample.id in balance:
            prompts.setdefault(sample.prompt_id, sample.prompt if sample.source is None else sample.source)
            cells.setdefault(sample.prompt_id, {}).setdefault(sample.arm, []).append(
                _one(balance[sample.id], judged=sample.id in judged)
            )
    return GoodGrid(
        arms=tuple(dict.fromkeys(sample.arm for sample in samples)),
        prompts=tuple(
            PromptGrades(prompt_id, prompts[prompt_id], {arm: _sum_of(row) for arm, row in of_arms.items()})
            for prompt_id, of_arms in cells.items()
        ),
    )


def _one(balance: int, *, judged: bool) -> GoodCount:
    """A graded sample as a count of one."""
    if balance:
        return GoodCount(int(balance > 0), 1)
    return GoodCount(0, 0, split=1) if judged else GoodCount(0, 0, unsure=1)
