"""Measure how far raters agree, beyond chance where a coefficient allows for it.

Ratings are a table, one row per rater and one column per item, None where a rater did not rate. An item that
fewer than two raters judged says nothing of agreement and is left out. Where every rating is the same,
agreement beyond chance is undefined: nothing in the data could have disagreed.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError, unknown_name
from finetrial.stats.intervals import check_level, t_quantile

Rating = Hashable
Ratings = Sequence[Sequence[Rating | None]]
_NO_PAIR = "no item was judged by two raters"


class Level(enum.StrEnum):
    """Level of measurement: how far apart two different ratings are."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"
    RATIO = "ratio"


@dataclass(frozen=True)
class Agreement:
    """A coefficient with its jackknife bounds over items; what is undefined is None, and `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    confidence: float
    n_items: int
    n_raters: int
    n_ratings: int
    reason: str | None = None


@dataclass(frozen=True)
class _Table:
    """counts_IV: how many raters gave item I the value V; only items with enough ratings."""

    counts_IV: np.ndarray
    values: tuple[Rating, ...]
    n_raters: int

    @property
    def size(self) -> tuple[int, int, int]:
        return len(self.counts_IV), self.n_raters, int(self.counts_IV.sum())


def _is_absent(rating: Rating | None) -> bool:
    return rating is None or (isinstance(rating, float) and math.isnan(rating))


def _table(ratings: Ratings, *, level: Level, fewest_ratings: int = 2) -> _Table:
    rows = [list(row) for row in ratings]
    if len({len(row) for row in rows}) > 1:
        raise UserError(
            "every rater needs one cell per item, None where there is no rating", got="rows of unequal length"
        )
    columns = [[rating for rating in column if not _is_absent(rating)] for column in zip(*rows, strict=True)]
    columns = [column for column in columns if len(column) >= fewest_ratings]
    found = {rating for column in columns for rating in column}
    if level is Level.NOMINAL:
        values = sorted(found, key=lambda value: (type(value).__name__, value))
    else:
        if not all(isinstance(value, (int, float, np.number)) and math.isfinite(value) for value in found):
            raise UserError(f"a rating on the {level} level is a finite number", got=sorted(map(repr, found))[:3])
        if level is Level.RATIO and any(value < 0 for value in found):
            raise UserError("a rating on the ratio level is zero or more", got=min(found))
        values = sorted(found)
    place = {value: i for i, value in enumerate(values)}
    counts = np.zeros((len(columns), len(values)))
    for i, column in enumerate(columns):
        for rating in column:
            counts[i, place[rating]] += 1
    return _Table(counts, tuple(values), len(rows))


def _undefined(table: _Table, confidence: float) -> Agreement | None:
    """The answer where the table cannot give one."""
    reason = None
    if not (table.counts_IV.sum(axis=1) >= 2).any():
        reason = _NO_PAIR
    elif len(table.values) == 1:
        reason = "every rating is the same: nothing could have disagreed"
    return None if reason is None else Agreement(None, None, None, confidence, *table.size, reason=reason)


def _with_jackknife(table: _Table, value: float, without_each: np.ndarray, confidence: float) -> Agreement:
    """Bounds from leave-one-item-out values: Student's t on the pseudo-values (Tukey 1958; Efron 1982, chapter
    3)."""
    n = len(without_each)
    if n < 3 or not np.isfinite(without_each).all():
        reason = (
            "fewer than three items: no bounds"
            if n < 3
            else "without one of the items every rating would be the same: no bounds"
        )
        return Agreement(value, None, None, confidence, *table.size, reason=reason)
    pseudo = n * value - (n - 1) * without_each
    error = math.sqrt(pseudo.var(ddof=1) / n)
    reach = t_quantile((1 + confidence) / 2, degrees=n - 1) * error
    middle = float(pseudo.mean())
    if error == 0:
        reason = "leaving out any item changes nothing: the data say nothing of the spread between items"
        return Agreement(value, None, None, confidence, *table.size, reason=reason)
    low, high = min(value, middle - reach), max(value, middle + reach)
    return Agreement(value, max(-1.0, low), min(1.0, high), confidence, *table.size)


def raw_agreement(ratings: Ratings, *, confidence: float = 0.95) -> Agreement:
    """Share of pairs of ratings of one item that agree, each item weighing alike."""
    check_level(confidence)
    table = _table(ratings, level=Level.NOMINAL)
    if len(table.counts_IV) == 0:
        return Agreement(None, None, None, confidence, *table.size, reason=_NO_PAIR)
    shares = _agreeing_share(table.counts_IV)
    n = len(shares)
    value = float(shares.mean())
    return _with_jackknife(table, value, (n * value - shares) / max(n - 1, 1), confidence)


def _agreeing_share(counts_IV: np.ndarray) -> np.ndarray:
    """Per item, the share of its pairs of ratings that agree."""
    totals = counts_IV.sum(axis=1)
    shares: np.ndarray = (counts_IV * (counts_IV - 1)).sum(axis=1) / (totals * (totals - 1))
    return shares


def krippendorff_alpha(
    ratings: Ratings, *, level: Level | str = Level.NOMINAL, confidence: float = 0.95
) -> Agreement:
    """Krippendorff's alpha: 1 - observed over expected disagreement; 1 is perfect, 0 is chance.

    `level` is nominal, ordinal, interval or ratio. Krippendorff, "Computing Krippendorff's alpha-reliability",
    2011; "Content analysis", 4th edition, 2018, chapter 12. Bounds by the jackknife over items.
    """
    check_level(confidence)
    if level not in list(Level):
        raise unknown_name("level of measurement", str(level), [known.value for known in Level])
    level = Level(level)
    table = _table(ratings, level=level)
    undefined = _undefined(table, confidence)
    if undefined is not None:
        return undefined
    counts = table.counts_IV
    totals = counts.sum(axis=0)
    value = _alpha(counts, totals, table.values, level=level)
    without_each = np.array(
        [
            _alpha(np.delete(counts, i, axis=0), totals - counts[i], table.values, level=level)
            for i in range(len(counts))
        ]
    )
    return _with_jackknife(table, value, without_each, confidence)


def _alpha(counts_IV: np.ndarray, totals_V: np.ndarray, values: tuple[Rating, ...], *, level: Level) -> float:
    """alpha = 1 - (n - 1) sum_ck o_ck d²_ck / sum_ck n_c n_k d²_ck, o the coincidences; NaN where undefined."""
    distance_VV = _squared_distance(totals_V, values, level=level)
    weights_I = 1 / (counts_IV.sum(axis=1) - 1)
    # d² is 0 on the diagonal, so that pairs of a rating with itself need no subtraction.
    observed = float(np.einsum("i,iv,vw,iw->", weights_I, counts_IV, distance_VV, counts_IV, optimize=True))
    expected = float(totals_V @ distance_VV @ totals_V)
    return 1 - float(totals_V.sum() - 1) * observed / expected if expected > 0 else math.nan


def _squared_distance(totals_V: np.ndarray, values: tuple[Rating, ...], *, level: Level) -> np.ndarray:
    """Krippendorff's squared difference functions between any two values."""
    distance_VV: np.ndarray
    if level is Level.NOMINAL:
        distance_VV = 1.0 - np.eye(len(values))
    elif level is Level.ORDINAL:  # the ratings that lie between the two, and half of those at either end
        middle = np.cumsum(totals_V) - totals_V / 2
        distance_VV = (middle[:, None] - middle[None, :]) ** 2
    else:
        numbers = np.array(values, dtype=float)
        gap, total = numbers[:, None] - numbers[None, :], numbers[:, None] + numbers[None, :]
        if level is Level.RATIO:
            gap = np.where(total > 0, gap / np.where(total > 0, total, 1), 0.0)
        distance_VV = gap**2
    return distance_VV


def gwet_ac1(
    ratings: Ratings, *, categories: Sequence[Rating] | None = None, confidence: float = 0.95
) -> Agreement:
    """Gwet's AC1 for any number of raters: (p_a - p_e) / (1 - p_e), which stays steady where one answer prevails.

    p_a is the mean share of agreeing pairs per item, p_e = sum pi_k (1 - pi_k) / (q - 1) with pi_k the mean
    share of category k per item. `categories` are those the raters could choose (all q); without it, those that
    occur. Gwet, "Computing inter-rater reliability and its variance in the presence of high agreement", 2008,
    equations 4 and 5. An item with one rating counts for pi_k and not for p_a, as in the paper.
    """
    check_level(confidence)
    table = _table(ratings, level=Level.NOMINAL, fewest_ratings=1)
    undefined = _undefined(table, confidence)
    if undefined is not None:
        return undefined
    q = len(table.values) if categories is None else len(set(categories) | set(table.values))
    totals_I = table.counts_IV.sum(axis=1)
    is_pair_I = totals_I >= 2
    agreeing_I = np.zeros(len(totals_I))
    agreeing_I[is_pair_I] = _agreeing_share(table.counts_IV[is_pair_I])
    shares_IV = table.counts_IV / totals_I[:, None]

    def coefficient(keep: np.ndarray) -> float:
        if not is_pair_I[keep].any():
            return math.nan
        shares_V = shares_IV[keep].mean(axis=0)
        observed = agreeing_I[keep].sum() / is_pair_I[keep].sum()
        expected = float((shares_V * (1 - shares_V)).sum() / (q - 1))
        return float((observed - expected) / (1 - expected))

    items = np.arange(len(totals_I))
    without_each = np.array([coefficient(items != i) for i in items])
    return _with_jackknife(table, coefficient(items >= 0), without_each, confidence)


def cohen_kappa(
    first: Sequence[Rating | None], second: Sequence[Rating | None], *, confidence: float = 0.95
) -> Agreement:
    """Cohen's kappa of two raters, item by item: (p_o - p_e) / (1 - p_e), p_e from each rater's own shares.

    Cohen, "A coefficient of agreement for nominal scales", 1960. Undefined where both give every item one and
    the same rating.
    """
    check_level(confidence)
    table = _table([first, second], level=Level.NOMINAL)
    undefined = _undefined(table, confidence)
    if undefined is not None:
        return undefined
    place = {value: i for i, value in enumerate(table.values)}
    pairs = [(x, y) for x, y in zip(first, second, strict=True) if not _is_absent(x) and not _is_absent(y)]
    cells = np.zeros((len(pairs), len(place), len(place)))
    for i, (x, y) in enumerate(pairs):
        cells[i, place[x], place[y]] = 1

    def coefficient(table_VV: np.ndarray) -> float:
        shares_VV = table_VV / table_VV.sum()
        expected = float(shares_VV.sum(axis=0) @ shares_VV.sum(axis=1))
        return (float(np.trace(shares_VV)) - expected) / (1 - expected) if expected < 1 else math.nan

    whole = cells.sum(axis=0)
    without_each = np.array([coefficient(whole - cell) if len(pairs) > 1 else math.nan for cell in cells])
    return _with_jackknife(table, coefficient(whole), without_each, confidence)
