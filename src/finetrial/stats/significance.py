"""Test whether the difference between two arms could be chance.

The sign-flip test decides: if the arms were alike, each prompt's difference could as well have had the other
sign (Fisher, "The design of experiments", 1935, section 21). It is exact up to 36 prompts that differ, and
beyond drawn at random with the +1 rule (Phipson & Smyth, "Permutation p-values should never be zero", 2010).
Holm corrects for several pairs (Holm, "A simple sequentially rejective multiple test procedure", 1979).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError
from finetrial.stats.unit_values import Number, differences, is_present, mean, present

# Two halves of 2^18 sums are sorted and met: some 50 ms.
MOST_EXACT = 36
MOST_CHOICES = 1_000  # of a prompt's samples between two arms: six and six have 924
# Draws beyond that: no p below 1e-5, nor below 5e-5 where more than two thousand prompts make each draw long.
DRAWS, DRAWS_OF_MANY, MANY = 99_999, 19_999, 2_000
# Sums that differ by rounding only are equal; 1e-12 of the sum of sizes is far above rounding, far below a real
# step.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SignFlip:
    """Two-sided p of the mean difference, and the least p that this many prompts could have given.

    `wins`, `losses` and `ties` count prompts where a is above, below and equal to b. `smallest_p` is None where no
    prompt differs. `exact` is False where the p was drawn, with `seed` and `n_draws`.
    """

    difference: float | None
    p: float | None
    smallest_p: float | None
    n_units: int
    n_missing: int
    wins: int
    losses: int
    ties: int
    exact: bool
    n_draws: int | None = None
    seed: int | None = None
    reason: str | None = None


def sign_flip_test(
    a: Sequence[Number], b: Sequence[Number] | None = None, *, seed: int = 0, n_draws: int | None = None
) -> SignFlip:
    """Test whether the mean of a - b is zero, from one value per prompt and arm; without `b`, `a` are the
    differences.

    Equal arms give p = 1. Prompts without a difference say nothing for either side and do not change p. Works in
    O(n 2^(n/2)) while exact. Nothing depends on the order of the prompts.
    """
    found = present(differences(a, b))
    if found.reason is not None:
        return SignFlip(None, None, None, len(found.values), found.n_missing, 0, 0, 0, False, reason=found.reason)
    sizes = np.sort(np.abs([value for value in found.values if value != 0]))
    wins, losses = sum(v > 0 for v in found.values), sum(v < 0 for v in found.values)
    counts = (len(found.values), found.n_missing, wins, losses, len(found.values) - wins - losses)
    observed, difference = abs(math.fsum(found.values)), mean(found.values)
    if len(sizes) == 0:
        return SignFlip(0.0, 1.0, None, *counts, exact=True)
    edge = observed - _ROUNDING * math.fsum(sizes)
    if len(sizes) <= MOST_EXACT:
        p = 1.0 if edge <= 0 else min(1.0, 2 * _share_of_sums_from(edge, sizes))
        return SignFlip(difference, p, 2.0 ** (1 - len(sizes)), *counts, exact=True)
    if n_draws is None:
        n_draws = DRAWS if len(sizes) <= MANY else DRAWS_OF_MANY
    n_beyond = int((np.abs(_random_sums(sizes, n_draws=n_draws, seed=seed)) >= edge).sum())
    p = (n_beyond + 1) / (n_draws + 1)
    return SignFlip(difference, p, 1 / (n_draws + 1), *counts, exact=False, n_draws=n_draws, seed=seed)


def _signed_sums(sizes: np.ndarray) -> np.ndarray:
    """The sums under all 2^n choices of signs."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    return sums


def _share_of_sums_from(edge: float, sizes: np.ndarray) -> float:
    """Share of all 2^n signed sums that are at least `edge`: every sum of one half meets the sorted other half."""
    first, second = _signed_sums(sizes[::2]), np.sort(_signed_sums(sizes[1::2]))
    n_reaching = len(second) - np.searchsorted(second, edge - first, side="left")
    return float(n_reaching.sum()) / 2.0 ** len(sizes)


def _random_sums(sizes: np.ndarray, *, n_draws: int, seed: int) -> np.ndarray:
    """Signed sums under random signs. A random byte chooses eight signs, and a table holds its 256 sums."""
    rng = np.random.default_rng(seed)
    sums = np.zeros(n_draws)
    for start in range(0, len(sizes), 8):
        table = _signed_sums(sizes[start : start + 8])
        sums += table[rng.integers(0, len(table), size=n_draws, dtype=np.uint16)]
    return sums


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's adjusted p-values, in the order given; an undefined p stays None and is not counted as a test.

    The i-th smallest of m is max over j <= i of min(1, (m - j + 1) p_(j)).
    """
    for p in p_values:
        if is_present(p) and not 0 <= p <= 1:
            raise UserError("a p-value lies between 0 and 1", got=p)
    order = sorted((p, i) for i, p in enumerate(p_values) if is_present(p))
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = largest
    return tuple(adjusted)


@dataclass(frozen=True)
class ShuffleTest:
    """Two-sided p of the mean difference under shuffling samples between two arms within each prompt."""

    difference: float | None
    p: float | None
    n_prompts: int
    n_draws: int
    seed: int
    reason: str | None = None


def within_prompt_test(
    a: Sequence[Sequence[Number]], b: Sequence[Sequence[Number]], *, seed: int = 0, n_draws: int = 9_999
) -> ShuffleTest:
    """Test whether two arms differ on *these* prompts. Row i of `a` and of `b` holds the samples of prompt i.

    If the arms were alike on every one of these prompts, the samples of a prompt could have come from either:
    they are shuffled between the arms within the prompt, and the mean over prompts of the differences of means
    is compared (+1 rule).
    """
    if len(a) != len(b):
        raise UserError("two arms can be paired only on the same prompts", got=f"{len(a)} and {len(b)} prompts")
    rows = [
        ([float(v) for v in x if is_present(v)], [float(v) for v in y if is_present(v)])
        for x, y in zip(a, b, strict=True)
    ]
    rows = [(sorted(x), sorted(y)) for x, y in rows if x and y]
    if not rows:
        return ShuffleTest(None, None, 0, n_draws, seed, "no prompt has samples of both arms")
    if not all(math.isfinite(v) for x, y in rows for v in (*x, *y)):
        return ShuffleTest(None, None, len(rows), n_draws, seed, "a value is infinite")
    rows.sort()
    rng = np.random.default_rng(seed)
    observed = mean([mean(x) - mean(y) for x, y in rows])
    if all(len(x) == len(y) == 1 for x, y in rows):
        reason = "one sample per prompt and arm: sampling noise and a difference look the same"
        return ShuffleTest(observed, None, len(rows), n_draws, seed, reason)
    totals, scale = np.zeros(n_draws), 0.0
    for x, y in rows:
        pool, k = np.array(x + y), len(x)
        scale += float(np.abs(pool).max())
        if pool.min() == pool.max():
            continue
        totals += _shuffled_gaps(pool, k, n_draws=n_draws, rng=rng)
    edge = abs(observed) - _ROUNDING * max(scale, 1e-300) / len(rows)
    n_beyond = int((np.abs(totals / len(rows)) >= edge).sum())
    return ShuffleTest(observed, (n_beyond + 1) / (n_draws + 1), len(rows), n_draws, seed)


@functools.lru_cache(maxsize=64)
def _choices(n: int, k: int) -> np.ndarray:
    """Every choice of k out of n places, one a row."""
    return np.array(list(itertools.combinations(range(n), k)), dtype=np.intp)


def _shuffled_gaps(pool: np.ndarray, k: int, *, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """Mean of k values of the pool chosen at random, minus the mean of the others, drawn `n_draws` times.

    Where the pool is small all its choices are listed and then only looked up: thousands of prompts in a second.
    """
    rest = len(pool) - k
    if math.comb(len(pool), k) <= MOST_CHOICES:
        mean_a: np.ndarray = pool[_choices(len(pool), k)].mean(axis=1)
        gaps: np.ndarray = mean_a - (pool.sum() - k * mean_a) / rest
        return gaps[rng.integers(0, len(gaps), size=n_draws, dtype=np.uint16)]
    chosen = np.argpartition(rng.random((n_draws, len(pool)), dtype=np.float32), k - 1, axis=1)[:, :k]
    mean_a = pool[chosen].mean(axis=1)
    drawn: np.ndarray = mean_a - (pool.sum() - k * mean_a) / rest
    return drawn
