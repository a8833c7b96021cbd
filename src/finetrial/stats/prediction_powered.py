"""Estimate a mean difference from a few units that people graded and many that a judge graded.

PPI++ (Angelopoulos, Duchi & Zrnic, "PPI++: efficient prediction-powered inference", arXiv 2311.01453, 2023) on the
difference of two arms by unit: the people's mean, plus a weight times how far the judge's mean on the units that
people did not grade lies from its mean on those that they did. It is unbiased whatever the judge is worth, where
the graded units are a random subset; the weight decides the width alone.

The weight of a unit is fitted on the other units (cross-fitting), so that no unit chooses its own. It shrinks by
the positive part of 1 - 1/F, F that of the regression on the judge (after James & Stein 1961), and lies between 0,
people alone, and 1.

The interval is that of Student's t with two units more than were graded, at the ends of what a difference can be:
-1 and 1. Agresti & Caffo ("Simple and effective confidence intervals for proportions", The American Statistician
54, 2000) and Bonett & Price (2012) do so for shares; for means of shares it is cautious. What it covers is
measured by `benchmarks/judged_coverage.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.stats.intervals import check_level

FOLDS = 5
FEWEST_UNITS = 5  # with fewer graded units the interval spans most of what is possible
# Units on which a weight is fitted, at least; a weight from three says nothing. Measured beside the coverage.
_FEWEST_TO_FIT = 4


@dataclass(frozen=True, slots=True)
class Assisted:
    """A mean difference with its interval; what is undefined is None, and `reason` says why.

    `weight` is the mean of the cross-fitted weights, `correlation` the judge's with people over the graded units.
    """

    difference: float | None
    low: float | None
    high: float | None
    p: float | None  # two-sided, that of the interval
    level: float
    n_graded: int
    n_judged_alone: int
    weight: float | None
    correlation: float | None
    people_alone: tuple[float, float, float] | None  # the same estimate and interval at weight 0
    reason: str | None = None

    @property
    def grades_saved(self) -> float | None:
        """The share of people's grades that the judge was worth: 1 - (width with it / width without)², from 0."""
        if self.low is None or self.high is None or self.people_alone is None:
            return None
        _, low, high = self.people_alone
        return max(0.0, 1 - ((self.high - self.low) / (high - low)) ** 2) if high > low else None


def assisted_difference(
    people: Sequence[float],
    judge: Sequence[float],
    judge_alone: Sequence[float],
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Assisted:
    """The mean difference over units of people's grades, with a judge's help.

    `people[i]` and `judge[i]` are the differences of graded unit i, from -1 to 1; `judge_alone` those of the units
    that people did not grade. `seed` deals the units into folds.
    """
    check_level(level)
    y, f, rest = (np.asarray(row, dtype=float) for row in (people, judge, judge_alone))
    assert y.shape == f.shape, "people and judge grade the same units"
    n, m = len(y), len(rest)
    correlation = _correlation(y, f)
    if n < FEWEST_UNITS:
        reason = (
            f"people graded {n} of the units that are compared, and {FEWEST_UNITS} are the fewest for an interval"
        )
        mean = float(y.mean()) if n else None
        return Assisted(mean, None, None, None, level, n, m, None, correlation, None, reason)
    weights = cross_fitted_weights(y, f, n_alone=m, seed=seed)
    weight = float(weights.mean())
    alone_mean, alone_error = (float(rest.mean()), math.sqrt(rest.var(ddof=1) / m)) if m > 1 else (0.0, 0.0)
    shifted = y - weights * f + weight * alone_mean
    estimate, low, high, p = _bounds(shifted, extra_error=weight * alone_error, level=level)
    people_alone = _bounds(y, extra_error=0.0, level=level)[:3]
    return Assisted(estimate, low, high, p, level, n, m, weight, correlation, people_alone)


def _correlation(y: np.ndarray, f: np.ndarray) -> float | None:
    if len(y) < 3 or y.std() == 0 or f.std() == 0:
        return None
    return float(np.corrcoef(y, f)[0, 1])


def cross_fitted_weights(y: np.ndarray, f: np.ndarray, *, n_alone: int, seed: int) -> np.ndarray:
    """The weight of each graded unit, from the units of the other folds; 0 where these cannot say.

    lambda = cov(y, f) / ((1 + n/N) var f): PPI++, equation for a mean, with N units that the judge graded alone.
    """
    n = len(y)
    weights = np.zeros(n)
    if n_alone < 2:
        return weights
    fold = np.empty(n, dtype=int)
    fold[np.random.default_rng(seed).permutation(n)] = np.arange(n) % min(FOLDS, n)
    for k in range(min(FOLDS, n)):
        others = fold != k
        weights[~others] = _weight(y[others], f[others], share=n / n_alone)
    return weights


def _weight(y: np.ndarray, f: np.ndarray, *, share: float) -> float:
    if len(y) < _FEWEST_TO_FIT:
        return 0.0
    about_y, about_f = y - y.mean(), f - f.mean()
    spread_y, spread_f, joint = float(about_y @ about_y), float(about_f @ about_f), float(about_y @ about_f)
    if spread_y <= 0 or spread_f <= 0:
        return 0.0
    explained = min(1.0, joint * joint / (spread_y * spread_f))
    if explained == 1.0:
        shrink = 1.0
    else:
        ratio = (len(y) - 2) * explained / (1 - explained)
        shrink = max(0.0, 1 - 1 / ratio) if ratio > 0 else 0.0
    return min(1.0, max(0.0, shrink * joint / spread_f / (1 + share)))


def padded_interval(
    values: Sequence[float], *, most: float = 1.0, level: float = 0.95
) -> tuple[float, float, float] | None:
    """Mean, low and high of values that lie between -most and most, by a unit at either end; None for too few."""
    if len(values) < FEWEST_UNITS:
        return None
    mean, low, high, _ = _bounds(np.asarray(values, dtype=float) / most, extra_error=0.0, level=level)
    return most * mean, most * low, most * high


def _bounds(values: np.ndarray, *, extra_error: float, level: float) -> tuple[float, float, float, float]:
    """Mean, low, high and p of values with a unit of -1 and a unit of 1 added; `extra_error` is independent."""
    from scipy.special import stdtr, stdtrit

    n = len(values) + 2
    padded = np.concatenate([values, [-1.0, 1.0]])
    middle = float(padded.mean())
    error = math.sqrt(float(padded.var(ddof=1)) / n + extra_error**2)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    p = float(2 * stdtr(n - 1, -abs(middle) / error))
    return float(values.mean()), max(-1.0, middle - reach), min(1.0, middle + reach), p


@dataclass(frozen=True, slots=True)
class CorrectedShare:
    """A share of good answers as a judge sees it, corrected for its mistakes."""

    judged: float | None  # as the judge says
    corrected: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def rogan_gladen(
    judged_good: Sequence[float],
    *,
    agreed_good: int,
    people_good: int,
    agreed_bad: int,
    people_bad: int,
    level: float = 0.95,
) -> CorrectedShare:
    """The share of good answers behind a judge's, by its sensitivity and specificity on what people graded.

    (q + specificity - 1) / (sensitivity + specificity - 1): Rogan & Gladen, "Estimating prevalence from the
    results of a screening test", American Journal of Epidemiology 107, 1978. `judged_good` has a share of good
    answers by unit; `agreed_good` of the `people_good` texts that people called good the judge called good. The
    bounds carry the calibration's uncertainty by the delta method (Lang & Reiczigel, "Confidence limits for
    prevalence", Preventive Veterinary Medicine 113, 2014), with one success and one failure added to each rate.
    """
    from scipy.special import ndtri

    check_level(level)
    q = np.asarray(judged_good, dtype=float)
    if len(q) < 2:
        return CorrectedShare(None, None, None, None, "the judge graded fewer than two units")
    share = float(q.mean())
    if not people_good or not people_bad:
        missing = "good" if not people_good else "bad"
        return CorrectedShare(share, None, None, None, f"people called no text {missing} that the judge graded")
    sensitivity = (agreed_good + 1) / (people_good + 2)
    specificity = (agreed_bad + 1) / (people_bad + 2)
    youden = sensitivity + specificity - 1
    z = float(ndtri((1 + level) / 2))
    error_youden = math.sqrt(
        sensitivity * (1 - sensitivity) / (people_good + 2) + specificity * (1 - specificity) / (people_bad + 2)
    )
    if youden <= z * error_youden:
        return CorrectedShare(share, None, None, None, "the judge is not shown to tell good texts from bad ones")
    corrected = (share + specificity - 1) / youden
    variance = (
        float(q.var(ddof=1)) / len(q)
        + corrected**2 * sensitivity * (1 - sensitivity) / (people_good + 2)
        + (1 - corrected) ** 2 * specificity * (1 - specificity) / (people_bad + 2)
    ) / youden**2
    reach = z * math.sqrt(variance)
    low, middle, high = (min(1.0, max(0.0, corrected + side * reach)) for side in (-1, 0, 1))
    return CorrectedShare(share, middle, low, high)
