"""Compute the bounds of a mean, a difference or a share.

Few units: Student's t. Ten to two thousand: at each end the more cautious of Student's t and the studentised
bootstrap over units, which alone holds its level on skewed data. More: Student's t again, whose error from
skewness is by then negligible and whose cost is none. Values that are all 0 or 1: Clopper and Pearson's exact
bounds, and for differences of such values Bonett and Price's. Good of n: Wilson on an effective number of
samples. What each covers is measured by `benchmarks/coverage.py` and printed in docs/statistics.md.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.stats.unit_values import (
    ROUNDING,
    Number,
    differences,
    is_present,
    largest_size,
    mean,
    present,
    variance,
)

# Measured (docs/statistics.md): below ten units the bootstrap adds width and little coverage; above two thousand
# Student's t alone covers 94 % of lognormal means.
FEWEST_FOR_BOOTSTRAP = 10
MOST_FOR_BOOTSTRAP = 2_000
# A resample whose standard error is this share of the values' own varies by rounding alone. Assumption: between the
# rounding of doubles (1e-13 and less) and any spread that data have.
_FLAT = 1e-6
RESAMPLES = 1_999  # so that the 2.5 % points are order statistics: 0.025 x 2000 = 50


class Method(enum.StrEnum):
    """How an interval was made."""

    T = "t"
    T_AND_BOOTSTRAP = "t and studentised bootstrap, the wider at each end"
    EXACT = "exact binomial"
    PAIRED_SHARES = "paired shares, adjusted"
    WILSON = "wilson"
    BCA = "bootstrap over units, bias-corrected and accelerated"


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds at confidence `level`. What is undefined is None, and `reason` says why.

    `n_units` counts prompts or groups, never samples. `seed` is that of the bootstrap where one was used.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    n_units: int
    n_missing: int
    method: Method | None
    reason: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class GoodOfN:
    """How many samples were good, the share's Wilson bounds, and the number of independent samples they are
    worth."""

    good: int
    of: int
    share: float | None
    low: float | None
    high: float | None
    level: float
    n_units: int
    effective_size: float | None
    reason: str | None = None


def check_level(level: float) -> float:
    """`level` where it is a confidence level; UserError otherwise."""
    if not 0 < level < 1:
        raise UserError("a confidence level lies between 0 and 1", got=level, expected="0.95, for instance")
    return level


def normal_quantile(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    from scipy.special import ndtri  # 0.1 s to import, and only statistics need it

    return float(ndtri(probability))


def t_quantile(probability: float, *, degrees: float) -> float:
    """Quantile of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def wilson_interval(good: float, of: float, *, level: float = 0.95) -> Interval:
    """Bounds of a share, `good` out of `of` independent trials (either may be an effective, fractional number).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927:
    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    """
    check_level(level)
    if not (0 <= good <= of and math.isfinite(of)):
        raise UserError("a share needs 0 <= good <= of", got=f"{good} of {of}")
    if of == 0:
        return Interval(None, None, None, level, 0, 0, None, "nothing was judged")
    share, z = good / of, normal_quantile((1 + level) / 2)
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At 0 and at all the formula's own end is the share; rounding must not move it.
    low, high = (0.0 if good == 0 else low), (1.0 if good == of else high)
    return Interval(share, low, high, level, math.floor(of), 0, Method.WILSON)


def mean_interval(
    values: Sequence[Number],
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Interval:
    """Bounds of the mean over new units, from one value per unit (see `numbers.unit_means`).

    `bounds` are the least and largest value the metric can take; the interval is cut there. Values that are all
    equal say nothing of their spread: no interval, unless they are 0 or 1.
    """
    return _interval_of_mean(
        values, level=level, seed=seed, bounds=bounds, shares=True, unit=unit, size=largest_size(values)
    )


def _interval_of_mean(
    values: Sequence[Number],
    *,
    level: float,
    seed: int,
    bounds: tuple[float, float] | None,
    shares: bool,
    unit: str,
    size: float,
    what: str = "values",
) -> Interval:
    """`shares`: values that are all 0 or 1 are trials of a share. Differences never are: -1 may yet come. `size` is
    that of the numbers that rounding has touched."""
    check_level(level)
    found = present(values)
    n = len(found.values)
    if found.reason is not None:
        return Interval(None, None, None, level, n, found.n_missing, None, found.reason)
    estimate = mean(found.values)
    varies = found.values[-1] - found.values[0] > ROUNDING * size
    if shares and set(found.values) <= {0.0, 1.0}:
        low, high = _exact_binomial(int(sum(found.values)), n, level=level)
        return Interval(estimate, low, high, level, n, found.n_missing, Method.EXACT)
    if n < 2:
        reason = f"one {unit} alone says nothing of the spread between {unit}s"
        return Interval(estimate, None, None, level, n, found.n_missing, None, reason)
    if not varies:
        reason = f"all {n} {what} are equal: the data say nothing of the spread between {unit}s"
        return Interval(estimate, None, None, level, n, found.n_missing, None, reason)
    error = math.sqrt(variance(found.values) / n)
    reach = t_quantile((1 + level) / 2, degrees=n - 1) * error
    low, high = estimate - reach, estimate + reach
    method, used_seed = Method.T, None
    if FEWEST_FOR_BOOTSTRAP <= n <= MOST_FOR_BOOTSTRAP:
        method, used_seed = Method.T_AND_BOOTSTRAP, seed
        least, most = _studentised_quantiles(np.array(found.values), level=level, seed=seed)
        low, high = min(low, estimate - most * error), max(high, estimate - least * error)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(estimate, low, high, level, n, found.n_missing, method, None, used_seed)


def _exact_binomial(good: int, of: int, *, level: float) -> tuple[float, float]:
    """Clopper & Pearson, "The use of confidence or fiducial limits", Biometrika 26, 1934: never below its level."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = 0.0 if good == 0 else float(betaincinv(good, of - good + 1, tail))
    high = 1.0 if good == of else float(betaincinv(good + 1, of - good, 1 - tail))
    return low, high


def paired_interval(
    a: Sequence[Number],
    b: Sequence[Number] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    bounds: tuple[float, float] | None = None,
    unit: str = "prompt",
) -> Interval:
    """Bounds of the mean difference a - b over new prompts, from one value per prompt and arm.

    Prompt i of `a` and of `b` is the same prompt; a prompt that either lacks is left out and counted. Without
    `b` the values of `a` are the differences. `bounds` are the least and largest value that `a` and `b` can take:
    no difference exceeds their distance, and the interval is cut there. Where `a` and `b` are all 0 or 1 the bounds
    are those of paired shares.
    """
    gaps = differences(a, b)
    if b is not None and {float(v) for v in (*a, *b) if is_present(v)} <= {0.0, 1.0}:
        return _paired_shares(gaps, level=level)
    most = None if bounds is None else bounds[1] - bounds[0]
    limits = None if most is None else (-most, most)
    size, what = largest_size(a, b or ()), "values" if b is None else "differences"
    return _interval_of_mean(
        gaps, level=level, seed=seed, bounds=limits, shares=False, unit=unit, size=size, what=what
    )


def _paired_shares(gaps: Sequence[Number], *, level: float) -> Interval:
    """One win and one loss more than seen, of n + 2 pairs; then d ± z sqrt((w + l - d²) / (n + 2)).

    Bonett & Price, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", Journal of Educational and Behavioral Statistics 37, 2012. It exists where all pairs tie, too.
    """
    check_level(level)
    found = present(gaps)
    n = len(found.values)
    if n == 0:
        return Interval(None, None, None, level, 0, found.n_missing, None, found.reason)
    wins = (sum(value > 0 for value in found.values) + 1) / (n + 2)
    losses = (sum(value < 0 for value in found.values) + 1) / (n + 2)
    reach = normal_quantile((1 + level) / 2) * math.sqrt((wins + losses - (wins - losses) ** 2) / (n + 2))
    low, high = max(-1.0, wins - losses - reach), min(1.0, wins - losses + reach)
    return Interval(mean(found.values), low, high, level, n, found.n_missing, Method.PAIRED_SHARES)


def _studentised_quantiles(values: np.ndarray, *, level: float, seed: int) -> tuple[float, float]:
    """The lower and upper point of (mean* - mean) / error* over resamples of the values with replacement.

    Efron & Tibshirani, "An introduction to the bootstrap", 1993, section 12.5. `values` come sorted, so that their
    order changes nothing. A resample without spread counts as infinitely far out on its side.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    centred = values - values.mean()
    ratios = np.empty(RESAMPLES)
    rows = max(1, 4_000_000 // n)
    for start in range(0, RESAMPLES, rows):
        drawn = centred[rng.integers(0, n, size=(min(rows, RESAMPLES - start), n))]
        means = drawn.mean(axis=1)
        errors = np.sqrt(np.maximum((drawn * drawn).mean(axis=1) - means * means, 0) / (n - 1))
        flat = errors <= _FLAT * values.std() / math.sqrt(n)
        ratios[start : start + rows] = np.where(flat, np.copysign(np.inf, means), means / np.where(flat, 1, errors))
    ratios.sort()
    tail = max(1, math.floor((1 - level) / 2 * (RESAMPLES + 1)))
    least, most = float(ratios[tail - 1]), float(ratios[RESAMPLES - tail])
    finite = ratios[
        np.isfinite(ratios)
    ]  # an infinite bound would be no interval: the farthest finite point stands in
    return max(least, float(finite[0])), min(most, float(finite[-1]))


def good_of_n(
    grades: Mapping[str, Sequence[Number]], *, level: float = 0.95, n_distinct: int | None = None
) -> GoodOfN:
    """How many samples were good, with Wilson's bounds on an effective number of samples.

    `grades` maps each unit (prompt or group) to its samples' grades, 1 good and 0 bad; None was not judged.
    Samples of one prompt resemble each other, so that k prompts of m samples are worth between k and k m
    independent ones. The effective size is p(1-p) over the variance of p between units (Kish, "Survey
    sampling", 1965, 8.2, with the linearised ratio variance), held between the number of units and `n_distinct`
    (all samples unless given). Where every grade is the same the spread between units is unknown and the number
    of units counts: the cautious end.
    """
    check_level(level)
    units = [[float(grade) for grade in row if is_present(grade)] for _, row in sorted(grades.items())]
    units = [row for row in units if row]
    if any(grade not in (0.0, 1.0) for row in units for grade in row):
        raise UserError("a grade is 1 for good or 0 for bad, or None where nobody could tell")
    of, good = sum(map(len, units)), int(sum(map(sum, units)))
    if of == 0:
        return GoodOfN(0, 0, None, None, None, level, 0, None, "nothing was judged")
    n_units, share = len(units), good / of
    most = float(of if n_distinct is None else max(n_units, min(n_distinct, of)))
    size = float(n_units)
    if 0 < good < of and n_units > 1:
        between = math.fsum((sum(row) - share * len(row)) ** 2 for row in units) / of**2 * n_units / (n_units - 1)
        size = min(most, max(size, share * (1 - share) / between)) if between > 0 else most
    bounds = wilson_interval(share * size, size, level=level)
    return GoodOfN(good, of, share, bounds.low, bounds.high, level, n_units, size)
