"""Compare two arms on these prompts, on new prompts, or after another training run.

Three questions with three kinds of chance in them. On *these* prompts only sampling varies; on *new* prompts
the prompts vary too; *retrained*, the training seed as well. A difference that holds for these prompts need not
hold for new ones, and one training run answers for its own weights only.
"""

from __future__ import annotations

import enum
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from finetrial.errors import UserError
from finetrial.stats.intervals import check_level, paired_interval, t_quantile
from finetrial.stats.significance import holm, sign_flip_test, within_prompt_test
from finetrial.stats.unit_values import ROUNDING, Number, is_present, largest_size, mean, variance

Values = TypeVar("Values")
ALPHA = 0.05


class Question(enum.StrEnum):
    """To what a comparison answers."""

    THESE = "these"
    NEW = "new"
    RETRAINED = "retrained"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms compared by one metric: a - b with bounds and two-sided p.

    The one record of a comparison, from the test to the page. `wins`, `losses`, `ties` count units where a is
    above, below, equal to b; None for a metric without a value per unit. `smallest_p` is the least p that this many
    prompts could have given. What is undefined is None, and `reason` says why. `compare_every_pair` fills in what
    follows `reason`.
    """

    question: Question
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    level: float
    n_units: int
    n_missing: int
    wins: int | None
    losses: int | None
    ties: int | None
    smallest_p: float | None = None
    reason: str | None = None
    a: str | None = None
    b: str | None = None
    metric: str | None = None
    p_over_pairs: float | None = None  # after Holm, over all pairs compared by this metric and question
    confirmatory: bool = True  # the metric was named to decide before there were scores
    lower_is_better: bool = False

    @property
    def p_holm(self) -> float | None:
        """The corrected p of a confirmatory comparison; an exploratory one has none."""
        return self.p_over_pairs if self.confirmatory else None

    @property
    def arms(self) -> tuple[str, str]:
        """The names of the two arms, which `compare_every_pair` gives."""
        assert self.a is not None and self.b is not None
        return self.a, self.b

    @property
    def gain(self) -> float | None:
        """The difference, turned so that above 0 `a` is the better arm."""
        return _turned(self.difference) if self.lower_is_better else self.difference

    @property
    def gain_low(self) -> float | None:
        return _turned(self.high) if self.lower_is_better else self.low

    @property
    def gain_high(self) -> float | None:
        return _turned(self.low) if self.lower_is_better else self.high

    @property
    def is_significant(self) -> bool:
        """Whether p is below .05 after Holm's correction."""
        return self.p_over_pairs is not None and self.p_over_pairs < ALPHA

    @property
    def is_better(self) -> bool:
        """Whether `a` is significantly better."""
        return self.is_significant and (self.gain or 0) > 0

    @property
    def is_worse(self) -> bool:
        """Whether `a` is significantly worse."""
        return self.is_significant and (self.gain or 0) < 0

    @property
    def all_tie(self) -> bool:
        """Whether a and b have the same value on every unit."""
        return self.ties is not None and self.ties == self.n_units

    def reversed(self) -> Comparison:
        """The same comparison as b - a."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            difference=_turned(self.difference),
            low=_turned(self.high),
            high=_turned(self.low),
            wins=self.losses,
            losses=self.wins,
        )


def _turned(value: float | None) -> float | None:
    return None if value is None else -value


def compare_on_new_prompts(
    a: Sequence[Number],
    b: Sequence[Number],
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Comparison:
    """Question `new`: one value per prompt (or group) and arm; the sign-flip p decides, the interval describes.

    `bounds` are the least and largest value that the metric can take, `unit` is what has one value.
    """
    if not any(is_present(x) and is_present(y) for x, y in zip(a, b, strict=True)):
        reason = f"no {unit} has a value of both arms"
        return Comparison(Question.NEW, None, None, None, None, level, 0, len(a), 0, 0, 0, reason=reason)
    test = sign_flip_test(a, b, seed=seed)
    interval = paired_interval(a, b, level=level, seed=seed, bounds=bounds, unit=unit)
    low, high = agreeing(interval.low, interval.high, difference=test.difference, p=test.p, level=level)
    return Comparison(
        Question.NEW,
        test.difference,
        low,
        high,
        test.p,
        level,
        test.n_units,
        test.n_missing,
        test.wins,
        test.losses,
        test.ties,
        test.smallest_p,
        reason=test.reason or interval.reason,
    )


def compare_on_these_prompts(
    a: Sequence[Sequence[Number]],
    b: Sequence[Sequence[Number]],
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
) -> Comparison:
    """Question `these`: row i holds the samples of prompt i, equal ones included. `bounds` are the metric's own.

    p by shuffling samples within prompts. Bounds by Student's t on the sampling error alone: the variance of
    the mean is the sum over prompts of s_a²/k_a + s_b²/k_b, over the squared number of prompts, its degrees of
    freedom after Satterthwaite, "An approximate distribution of estimates of variance components", 1946.
    """
    check_level(level)
    test = within_prompt_test(a, b, seed=seed)
    rows = [([v for v in x if is_present(v)], [v for v in y if is_present(v)]) for x, y in zip(a, b, strict=True)]
    rows = [(x, y) for x, y in rows if x and y]
    n_missing = len(a) - len(rows)
    if test.difference is None:
        return Comparison(
            Question.THESE, None, None, None, None, level, test.n_prompts, n_missing, 0, 0, 0, reason=test.reason
        )
    gaps = [mean(x) - mean(y) for x, y in rows]
    counts = (sum(g > 0 for g in gaps), sum(g < 0 for g in gaps), sum(g == 0 for g in gaps))
    reach, reason = _sampling_bounds(rows, level=level)
    low, high = (None, None) if reach is None else _around(test.difference, reach, bounds=bounds)
    return Comparison(
        Question.THESE,
        test.difference,
        low,
        high,
        test.p,
        level,
        test.n_prompts,
        n_missing,
        *counts,
        reason=test.reason or reason,
    )


def agreeing(
    low: float | None, high: float | None, *, difference: float | None, p: float | None, level: float
) -> tuple[float | None, float | None]:
    """Bounds of a difference that say of zero what the test beside them says.

    The test is exact, the bounds are not: five prompts of one sign have p = 0.0625 and bounds by Student's t that
    may leave zero out. Where the test does not reject zero, the bounds are moved out to hold it, which only widens
    them; where it does, they end there, which costs no coverage: a true zero is rejected as often as the level.
    """
    if low is None or high is None or p is None or difference is None:
        return low, high
    if p >= 1 - level:
        return min(low, 0.0), max(high, 0.0)
    return (max(low, 0.0), high) if difference > 0 else (low, min(high, 0.0))


def _around(difference: float, reach: float, *, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The difference less and plus its reach, no farther than two values within `bounds` can lie apart."""
    most = math.inf if bounds is None else bounds[1] - bounds[0]
    return max(-most, difference - reach), min(most, difference + reach)


def _sampling_bounds(
    rows: Sequence[tuple[Sequence[float], Sequence[float]]], *, level: float
) -> tuple[float | None, str | None]:
    """Half the width of the interval of the mean difference under sampling alone, or None with the reason."""
    cells = [cell for row in rows for cell in row]
    if any(len(cell) < 2 for cell in cells):
        return None, "sampling error needs two samples or more of every prompt and arm"
    parts = [(variance(cell) / len(cell) / len(rows) ** 2, len(cell) - 1) for cell in cells]
    total = math.fsum(part for part, _ in parts)
    if total <= (ROUNDING * largest_size(*cells)) ** 2:
        return None, "the samples of each prompt all score the same: the data say nothing of the sampling error"
    return t_quantile((1 + level) / 2, degrees=_satterthwaite(parts)) * math.sqrt(total), None


def _satterthwaite(parts: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom of a sum of estimated variances, from (variance, degrees of freedom) of each."""
    total = math.fsum(part for part, _ in parts)
    return total**2 / math.fsum(part**2 / degrees for part, degrees in parts if part > 0)


def compare_retrained(
    a: Sequence[Sequence[Number]],
    b: Sequence[Sequence[Number]],
    *,
    a_is_trained: bool = True,
    b_is_trained: bool = True,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Comparison:
    """Question `retrained`: row s holds one value per prompt from training run s; an untrained arm has one row.
    `bounds` are the metric's own.

    The variance of the difference is that of the prompts, over their number, plus for each trained arm that of
    its runs' means, over the number of runs: prompts and runs are crossed random effects (Searle, Casella &
    McCulloch, "Variance components", 1992, section 4.3). The interaction is counted in both parts, which errs
    towards width. The reach of the interval is sqrt(sum t_i² V_i), each part with Student's t at its own
    degrees of freedom (after Cochran, "Approximate significance levels of the Behrens-Fisher test", 1964): with
    two runs one degree of freedom makes it wide, and Satterthwaite's formula, which makes it narrower, covers
    88 % there. p is one minus the level at which the interval just touches zero.
    """
    check_level(level)
    n_prompts = {len(row) for row in (*a, *b)}
    if not a or not b or len(n_prompts) != 1:
        raise UserError(
            "training runs can be compared only on the same prompts", got=f"{sorted(n_prompts)} prompts"
        )
    n_runs = len(a) + len(b)
    finite = [[float(v) for v in cells if is_present(v) and math.isfinite(v)] for cells in zip(*a, *b, strict=True)]
    complete = [cells for cells in finite if len(cells) == n_runs]
    n_missing = len(a[0]) - len(complete)
    runs = [[cells[run] for cells in complete] for run in range(n_runs)]
    runs_a, runs_b = runs[: len(a)], runs[len(a) :]
    gaps = [mean([row[j] for row in runs_a]) - mean([row[j] for row in runs_b]) for j in range(len(complete))]
    counts = (sum(g > 0 for g in gaps), sum(g < 0 for g in gaps), sum(g == 0 for g in gaps))
    shape = (level, len(complete), n_missing, *counts)
    difference = mean(gaps) if gaps else None
    trained = [arm for arm, is_trained in ((runs_a, a_is_trained), (runs_b, b_is_trained)) if is_trained]
    reason = None
    if not trained:
        reason = "neither arm is trained: there is no training run to repeat"
    elif any(len(arm) < 2 for arm in trained):
        reason = "one training run of an arm: the difference holds for these weights only"
    elif len(complete) < 2:
        reason = "fewer than two prompts have values of every run"
    if reason is not None:
        return Comparison(Question.RETRAINED, difference, None, None, None, *shape, reason=reason)
    parts = [(variance(gaps) / len(gaps), len(gaps) - 1)]
    parts += [(variance([mean(run) for run in arm]) / len(arm), len(arm) - 1) for arm in trained]
    total = math.fsum(part for part, _ in parts)
    if total <= (ROUNDING * largest_size(*runs)) ** 2:
        p = 1.0 if difference == 0 else None
        reason = "neither prompts nor runs vary: the data say nothing of the spread"
        return Comparison(Question.RETRAINED, difference, None, None, p, *shape, reason=reason)
    assert difference is not None  # two prompts or more
    reach = _reach(parts, level=level)
    p = _touching_zero(abs(difference), parts)
    low, high = _around(difference, reach, bounds=bounds)
    return Comparison(Question.RETRAINED, difference, low, high, p, *shape)


def _reach(parts: Sequence[tuple[float, int]], *, level: float) -> float:
    return math.sqrt(math.fsum(part * t_quantile((1 + level) / 2, degrees=degrees) ** 2 for part, degrees in parts))


def _touching_zero(distance: float, parts: Sequence[tuple[float, int]]) -> float:
    """The p at which the interval of level 1 - p reaches exactly `distance`, by bisection of log p."""
    least, most = math.log(1e-12), 0.0  # p is at least 1e-12 and at most 1
    for _ in range(60):
        middle = (least + most) / 2
        if _reach(parts, level=-math.expm1(middle)) > distance:
            least = middle
        else:
            most = middle
    return math.exp(most)


def compare_every_pair(
    arms: Mapping[str, Values],
    *,
    compare: Callable[[Values, Values], Comparison],
    metric: str | None = None,
    confirmatory: bool = True,
    lower_is_better: bool = False,
) -> tuple[Comparison, ...]:
    """`compare` on every two arms, in their order, with Holm's correction over these pairs.

    Call it once per metric: pairs of metrics other than the primary are exploratory and must not share a correction
    with it.
    """
    found = [(a, b, compare(arms[a], arms[b])) for a, b in itertools.combinations(arms, 2)]
    adjusted = holm([comparison.p for _, _, comparison in found])
    return tuple(
        replace(
            comparison,
            a=a,
            b=b,
            metric=metric,
            p_over_pairs=p,
            confirmatory=confirmatory,
            lower_is_better=lower_is_better,
        )
        for (a, b, comparison), p in zip(found, adjusted, strict=True)
    )
