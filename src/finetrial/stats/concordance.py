"""Measure how far a metric agrees with people: item by item, and on which arm is best."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.stats.intervals import check_level
from finetrial.stats.unit_values import mean

RESAMPLES = 1_999
# Below five prompts a bootstrap over prompts has fewer than 126 distinct resamples and its bounds mean little.
FEWEST_PROMPTS = 5
_ROUNDING = 1e-12  # of shares from 0 to 1


@dataclass(frozen=True)
class Judged:
    """One sample with its metric's score and people's grade (a mean over raters, where there are several)."""

    sample_id: str
    prompt: str
    arm: str
    score: float
    grade: float


@dataclass(frozen=True)
class Concordance:
    """Share of pairs of samples that metric and grades put in the same order, with bounds over prompts.

    Pairs with equal grades are no question and left out; equal scores are half an agreement. `tied_scores`
    counts them.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float
    n_pairs: int
    tied_scores: int
    n_prompts: int
    seed: int
    reason: str | None = None


@dataclass(frozen=True)
class SameRanking:
    """Whether metric and grades name the same best arm and order of arms, and how likely on other prompts.

    The probabilities are shares of resamples of the prompts, metric and grades drawn jointly. `smallest_p` is
    the p of a perfect rank correlation among this many arms, 1 / arms!: with three arms 1/6, so that it proves
    nothing.
    """

    best_by_score: tuple[str, ...]
    best_by_grade: tuple[str, ...]
    same_best: float | None
    same_ranking: float | None
    rank_correlation: float | None
    smallest_p: float
    n_arms: int
    n_prompts: int
    seed: int
    reason: str | None = None


@dataclass(frozen=True)
class Disagreement:
    """A sample that metric and people see differently: `gap` is score rank minus grade rank, as shares from 0
    to 1."""

    sample: Judged
    gap: float


def _checked(samples: Sequence[Judged]) -> list[Judged]:
    """In an order that depends on the samples alone; every value must be finite."""
    if any(not (math.isfinite(s.score) and math.isfinite(s.grade)) for s in samples):
        raise UserError("scores and grades must be finite numbers", fix="Leave out what is missing.")
    return sorted(samples, key=lambda s: (s.prompt, s.arm, s.sample_id, s.score, s.grade))


def _ordered_pairs(scores: np.ndarray, grades: np.ndarray) -> tuple[float, int, int]:
    """Agreements (ties of the score one half), pairs with different grades, and how many of those tie in score.

    Sorting instead of comparing all pairs: O(n log n) for each distinct grade.
    """
    agreements, n_pairs, ties = 0.0, 0, 0
    levels = np.unique(grades)
    groups = [np.sort(scores[grades == level]) for level in levels]
    for low, high in itertools.combinations(groups, 2):
        below = np.searchsorted(low, high, side="left")
        below_or_equal = np.searchsorted(low, high, side="right")
        tied = int((below_or_equal - below).sum())
        agreements += float(below.sum()) + tied / 2
        ties += tied
        n_pairs += len(low) * len(high)
    return agreements, n_pairs, ties


def concordance(samples: Sequence[Judged], *, level: float = 0.95, seed: int = 0) -> Concordance:
    """How often the better graded of two samples has the higher score, within each prompt.

    What makes a prompt hard cancels out. 0.5 is chance. Bounds by the percentile bootstrap over prompts.
    """
    groups = defaultdict(list)
    for sample in _checked(samples):
        groups[sample.prompt].append(sample)
    rows = [
        _ordered_pairs(np.array([s.score for s in group]), np.array([s.grade for s in group]))
        for group in groups.values()
    ]
    reason = "no prompt has two samples with different grades"
    return _concordance(np.array(rows).reshape(-1, 3), level=level, seed=seed, reason=reason)


def area_under_curve(samples: Sequence[Judged], *, level: float = 0.95, seed: int = 0) -> Concordance:
    """How often the better graded of two samples has the higher score, over all samples.

    For grades of two kinds, the area under the receiver operating curve (Hanley & McNeil 1982): the chance that
    a good sample scores higher than a bad one, ties one half. Bounds by the percentile bootstrap over prompts.
    """
    check_level(level)
    ordered = _checked(samples)
    scores, grades = np.array([s.score for s in ordered]), np.array([s.grade for s in ordered])
    prompts = sorted({s.prompt for s in ordered})
    agreements, n_pairs, ties = _ordered_pairs(scores, grades)
    if n_pairs == 0:
        reason = "all grades are the same: no two samples to tell apart"
        return Concordance(None, None, None, level, 0, 0, len(prompts), seed, reason)
    value = agreements / n_pairs
    if len(prompts) < FEWEST_PROMPTS:
        reason = f"fewer than {FEWEST_PROMPTS} prompts: no bounds"
        return Concordance(value, None, None, level, n_pairs, ties, len(prompts), seed, reason)
    place = {prompt: i for i, prompt in enumerate(prompts)}
    owner = np.array([place[s.prompt] for s in ordered])
    # matrix[i, j]: agreements and pairs between samples of prompt i and of prompt j, so that a resample is a
    # product.
    agree_PP, pairs_PP = _pairs_between_prompts(scores, grades, owner, len(prompts))
    drawn = _resampled_counts(len(prompts), seed=seed)
    numerator = np.einsum("bi,ij,bj->b", drawn, agree_PP, drawn, optimize=True)
    denominator = np.einsum("bi,ij,bj->b", drawn, pairs_PP, drawn, optimize=True)
    bounds, none = _percentiles(numerator, denominator, level=level)
    return Concordance(value, *bounds, level, n_pairs, ties, len(prompts), seed, none)


def _pairs_between_prompts(
    scores: np.ndarray, grades: np.ndarray, owner: np.ndarray, n_prompts: int
) -> tuple[np.ndarray, np.ndarray]:
    agree, pairs = np.zeros((n_prompts, n_prompts)), np.zeros((n_prompts, n_prompts))
    for i in range(len(scores)):
        better = grades < grades[i]
        wins = better * (0.5 * (scores <= scores[i]) + 0.5 * (scores < scores[i]))
        agree[owner[i]] += np.bincount(owner, weights=wins, minlength=n_prompts)
        pairs[owner[i]] += np.bincount(owner, weights=better, minlength=n_prompts)
    return agree, pairs


def _resampled_counts(n_prompts: int, *, seed: int) -> np.ndarray:
    """How often each prompt is drawn in each resample, with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=RESAMPLES).astype(float)


def _percentiles(
    numerator: np.ndarray, denominator: np.ndarray, *, level: float
) -> tuple[tuple[float | None, float | None], str | None]:
    """The bounds, or none and why: where every resample gives one value, 50 to 50 % would claim certainty."""
    ratios = numerator[denominator > 0] / denominator[denominator > 0]
    if ratios.max() - ratios.min() <= _ROUNDING:
        return (None, None), "every prompt gives the same share: the data say nothing of the spread between prompts"
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return (float(low), float(high)), None


def _concordance(rows_P3: np.ndarray, *, level: float, seed: int, reason: str) -> Concordance:
    """From agreements, pairs and ties per prompt."""
    check_level(level)
    useful = rows_P3[rows_P3[:, 1] > 0]
    n = len(useful)
    if n == 0:
        return Concordance(None, None, None, level, 0, 0, 0, seed, reason)
    agreements, pairs, ties = useful.sum(axis=0)
    value = float(agreements / pairs)
    if n < FEWEST_PROMPTS:
        few = f"fewer than {FEWEST_PROMPTS} prompts with differently graded samples: no bounds"
        return Concordance(value, None, None, level, int(pairs), int(ties), n, seed, few)
    drawn = _resampled_counts(n, seed=seed)
    bounds, none = _percentiles(drawn @ useful[:, 0], drawn @ useful[:, 1], level=level)
    return Concordance(value, *bounds, level, int(pairs), int(ties), n, seed, none)


def same_ranking(samples: Sequence[Judged], *, seed: int = 0) -> SameRanking:
    """Compare the rankings of arms by metric and by grades, over prompts that have every arm.

    Arms that tie for best share the resample: the chance that ties broken at random name the same arm. A
    ranking is the same where every two arms stand in the same order, ties included. The rank correlation is
    Kendall's tau-b.
    """
    cells: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for sample in _checked(samples):
        cells[sample.prompt, sample.arm].append(sample)
    arms = sorted({arm for _, arm in cells})
    prompts = [p for p in sorted({prompt for prompt, _ in cells}) if all((p, arm) in cells for arm in arms)]
    smallest_p = 1 / math.factorial(len(arms)) if arms else 1.0
    shape = (smallest_p, len(arms), len(prompts), seed)
    if len(arms) < 2 or not prompts:
        reason = "fewer than two arms were judged" if len(arms) < 2 else "no prompt was judged for every arm"
        return SameRanking((), (), None, None, None, *shape, reason=reason)
    scores_PA, grades_PA = (
        np.array([[mean([getattr(s, name) for s in cells[p, arm]]) for arm in arms] for p in prompts])
        for name in ("score", "grade")
    )
    score_A, grade_A = scores_PA.mean(axis=0), grades_PA.mean(axis=0)
    tau = _tau_b(score_A, grade_A)
    best_by_score, best_by_grade = (
        tuple(arm for arm, is_best in zip(arms, _is_best(x[None])[0], strict=True) if is_best)
        for x in (score_A, grade_A)
    )
    if len(prompts) < FEWEST_PROMPTS:
        reason = f"fewer than {FEWEST_PROMPTS} prompts were judged for every arm: no probability"
        return SameRanking(best_by_score, best_by_grade, None, None, tau, *shape, reason=reason)
    drawn = _resampled_counts(len(prompts), seed=seed) / len(prompts)
    score_BA, grade_BA = drawn @ scores_PA, drawn @ grades_PA
    best_score, best_grade = _is_best(score_BA), _is_best(grade_BA)
    shared = (best_score & best_grade).sum(axis=1) / (best_score.sum(axis=1) * best_grade.sum(axis=1))
    first, second = np.triu_indices(len(arms), k=1)
    orders = [_signs(x[:, first] - x[:, second]) for x in (score_BA, grade_BA)]
    same = (orders[0] == orders[1]).all(axis=1)
    return SameRanking(best_by_score, best_by_grade, float(shared.mean()), float(same.mean()), tau, *shape)


def _signs(gaps: np.ndarray) -> np.ndarray:
    """Signs, with what rounding alone makes different counted as a tie."""
    return np.sign(np.where(np.abs(gaps) < 1e-12 * max(1.0, float(np.abs(gaps).max(initial=0))), 0, gaps))


def _is_best(means_BA: np.ndarray) -> np.ndarray:
    is_best: np.ndarray = _signs(means_BA.max(axis=1, keepdims=True) - means_BA) == 0
    return is_best


def _tau_b(x: np.ndarray, y: np.ndarray) -> float | None:
    """Kendall, "The treatment of ties in ranking problems", 1945; None where either ties all arms."""
    first, second = np.triu_indices(len(x), k=1)
    a, b = _signs(x[first] - x[second]), _signs(y[first] - y[second])
    norm = math.sqrt(float((a != 0).sum()) * float((b != 0).sum()))
    return float((a * b).sum()) / norm if norm else None


def worst_disagreements(samples: Sequence[Judged], *, most: int = 10) -> tuple[Disagreement, ...]:
    """The samples whose rank by score and by grade are farthest apart, farthest first; ranks with ties in the
    middle."""
    ordered = _checked(samples)
    gaps = _rank_shares([s.score for s in ordered]) - _rank_shares([s.grade for s in ordered])
    worst = sorted(range(len(ordered)), key=lambda i: (-abs(gaps[i]), i))[:most]
    return tuple(Disagreement(ordered[i], float(gaps[i])) for i in worst if gaps[i] != 0)


def _rank_shares(values: Sequence[float]) -> np.ndarray:
    array = np.array(values)
    ascending = np.sort(array)
    below = np.searchsorted(ascending, array, side="left")
    up_to = np.searchsorted(ascending, array, side="right")
    return (below + up_to) / (2 * max(1, len(array)))
