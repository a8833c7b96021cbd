"""Test whether a judge may stand in for a person: the alternative-annotator test.

Calderon, Reichart & Dror, "The alternative annotator test for LLM-as-a-judge", arXiv 2501.10970, 2025. Each person
in turn is left out, and the judge is compared with that person by how well each agrees with the remaining people
on the texts that both graded. The judge wins against a person where it is not shown to be worse by more than
epsilon, the price at which a person's grade is dearer than a judge's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The authors' rule of thumb (the paper's FAQ, and that of github.com/nitaytech/AltTest): 0.2 beside experts, 0.15
# beside skilled people such as students and trained workers, 0.1 beside crowd workers.
EPSILON = 0.15
FEWEST_TEXTS = 30  # each person's, for the t test: the same FAQ, which advises 50 to 100 and three people
_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class AgainstOne:
    """The judge beside one person, by agreement with the other people."""

    rater: str
    n_texts: int
    judge_advantage: float  # share of texts on which the judge agrees at least as well as the person
    person_advantage: float
    p: float | None  # one-sided, of the judge being worse by epsilon or more; None: too few texts
    wins: bool | None


@dataclass(frozen=True, slots=True)
class ReplacementTest:
    """Against how many people the judge wins; it may replace people where it wins against half of them or more."""

    by_rater: tuple[AgainstOne, ...]
    winning_rate: float | None
    passes: bool | None
    epsilon: float
    reason: str | None = None


def replacement_test(
    people: Mapping[str, Mapping[str, float]], judge: Mapping[str, float], *, epsilon: float = EPSILON
) -> ReplacementTest:
    """`people` maps each person to text and grade (0 or 1), `judge` a text to its grade.

    Benjamini and Yekutieli's procedure over the people, as in the paper. Undefined below two people.
    """
    if len(people) < 2:
        return ReplacementTest((), None, None, epsilon, "it takes two people or more on the same texts")
    rows = [_against(name, people=people, judge=judge, epsilon=epsilon) for name in sorted(people)]
    rows = [row for row in rows if row.n_texts]
    if not rows:
        return ReplacementTest((), None, None, epsilon, "no text was graded by two people and the judge")
    few = [row for row in rows if row.p is None]
    if few:
        reason = (
            f"{few[0].rater} shares {few[0].n_texts} texts with others; {FEWEST_TEXTS} are the fewest for this test"
        )
        return ReplacementTest(tuple(rows), None, None, epsilon, reason)
    rejected = _benjamini_yekutieli([row.p for row in rows if row.p is not None])
    decided = tuple(
        AgainstOne(row.rater, row.n_texts, row.judge_advantage, row.person_advantage, row.p, won)
        for row, won in zip(rows, rejected, strict=True)
    )
    rate = sum(rejected) / len(rejected)
    return ReplacementTest(decided, rate, rate >= 0.5, epsilon)


def _against(
    name: str, *, people: Mapping[str, Mapping[str, float]], judge: Mapping[str, float], epsilon: float
) -> AgainstOne:
    gaps: list[float] = []
    judge_better = person_better = 0
    for text, own in people[name].items():
        others = [grades[text] for rater, grades in people.items() if rater != name and text in grades]
        if text not in judge or not others:
            continue
        of_judge = sum(judge[text] == grade for grade in others) / len(others)
        of_person = sum(own == grade for grade in others) / len(others)
        judge_better += of_judge >= of_person
        person_better += of_person >= of_judge
        gaps.append(float(of_person >= of_judge) - float(of_judge >= of_person))
    n = len(gaps)
    if not n:
        return AgainstOne(name, 0, 0.0, 0.0, None, None)
    p = None if n < FEWEST_TEXTS else _one_sided(gaps, below=epsilon)
    return AgainstOne(name, n, judge_better / n, person_better / n, p, None)


def _one_sided(gaps: Sequence[float], *, below: float) -> float:
    """p of the mean being `below` or more, by Student's t."""
    from scipy.special import stdtr

    n = len(gaps)
    mean = math.fsum(gaps) / n
    spread = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (n - 1))
    if spread == 0:
        return 0.0 if mean < below else 1.0
    return float(stdtr(n - 1, (mean - below) / (spread / math.sqrt(n))))


def _benjamini_yekutieli(p_values: Sequence[float]) -> list[bool]:
    """Which of the hypotheses are rejected, at a false discovery rate of .05 under any dependence (2001)."""
    m = len(p_values)
    harmonic = sum(1 / i for i in range(1, m + 1))
    order = sorted(range(m), key=lambda i: p_values[i])
    last = max((k for k, i in enumerate(order, start=1) if p_values[i] <= k * _ALPHA / (m * harmonic)), default=0)
    chosen = set(order[:last])
    return [i in chosen for i in range(m)]
