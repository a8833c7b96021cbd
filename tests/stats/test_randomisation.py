"""A statistic of all items has a bootstrap interval over units, and a test that swaps arms within units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from finetrial.stats.intervals import mean_interval
from finetrial.stats.randomisation import bootstrap_interval, compare_by_swapping
from finetrial.stats.significance import sign_flip_test


def mean_of(items):
    return sum(items) / len(items) if items else None


def middle_of(items):
    return sorted(items)[len(items) // 2]


def units(values):
    return [[value] for value in values]


def test_of_a_mean_the_interval_is_near_students_and_cut_at_the_bounds():
    values = np.random.default_rng(3).normal(0.5, 0.1, 60)
    found = bootstrap_interval(units(values), statistic=mean_of, seed=1)
    expected = mean_interval(values.tolist())
    assert found.estimate == pytest.approx(expected.estimate)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.006)
    assert bootstrap_interval(units(values), statistic=mean_of, bounds=(0.0, 0.5), seed=1).high == 0.5


def test_the_units_are_resampled_and_not_their_items():
    # Copies of an item within its unit say nothing new: the interval stays as wide.
    values = np.random.default_rng(4).normal(size=30).tolist()
    once = bootstrap_interval([[v] for v in values], statistic=mean_of)
    tenfold = bootstrap_interval([[v] * 10 for v in values], statistic=mean_of)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


def test_with_few_units_the_p_is_that_of_every_swap():
    a, b = [0.9, 0.4, 0.8, 0.75, 0.6], [0.5, 0.45, 0.3, 0.7, 0.2]
    observed = abs(sum(a) - sum(b))
    swaps = [
        abs(sum((x - y) * sign for x, y, sign in zip(a, b, signs, strict=True)))
        for signs in itertools.product((1, -1), repeat=5)
    ]
    assert len(swaps) == 32
    expected = sum(gap >= observed - 1e-12 for gap in swaps) / 32
    found = compare_by_swapping(units(a), units(b), statistic=mean_of)
    assert found.p == expected and found.smallest_p == 2 / 32
    assert found.difference == pytest.approx(sum(a) / 5 - sum(b) / 5)
    assert (found.low, found.wins, found.ties) == (None, None, None) and "needs 20 or more" in found.reason


def test_units_that_are_the_same_in_both_arms_do_not_blunt_the_least_p():
    # Of 40 units 3 differ, all to one side: 2 of 2^3 swaps, as the sign-flip test has it.
    a = [[float(i)] for i in range(40)]
    b = [[value - (i < 3)] for i, (value,) in enumerate(a)]
    found = compare_by_swapping(a, b, statistic=mean_of)
    assert found.p == found.smallest_p == sign_flip_test([1.0] * 3 + [0.0] * 37).p == 2 / 8


def test_equal_arms_have_p_1_and_the_order_of_arms_only_turns_the_sign():
    values = np.random.default_rng(5).normal(size=(2, 25)).tolist()
    same = compare_by_swapping(units(values[0]), units(values[0]), statistic=mean_of)
    assert (same.p, same.difference, same.smallest_p) == (1.0, 0.0, None)
    there = compare_by_swapping(units(values[0]), units(values[1]), statistic=mean_of)
    back = compare_by_swapping(units(values[1]), units(values[0]), statistic=mean_of)
    assert there.difference == -back.difference and there.p == back.p
    assert there.low < there.difference < there.high and there.n_units == 25


def test_units_that_an_arm_lacks_are_left_out_and_counted():
    found = compare_by_swapping([[1.0], [], [0.5]], [[0.5], [0.2], [0.5]], statistic=mean_of)
    assert (found.n_units, found.n_missing, found.difference) == (2, 1, 0.25)
    nothing = compare_by_swapping([[1.0], []], [[], [0.2]], statistic=mean_of)
    assert (nothing.p, nothing.reason) == (None, "no prompt has texts of both arms")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5] * 19, "19 prompts: a bootstrap needs 20 or more"),
        ([0.5] * 24, "every resample has the same value: the data say nothing of the spread between prompts"),
        ([], "it is not defined for these texts"),
    ],
)
def test_too_few_data_give_no_interval_and_the_reason(values, said):
    found = bootstrap_interval(units(values), statistic=mean_of)
    assert (found.low, found.high, found.reason) == (None, None, said)


def test_the_test_holds_its_level_and_the_interval_covers_for_a_statistic_that_is_no_mean():
    # The 11th of 20 units of the same distribution, 100 times: p below .05 in about 5, the interval of the
    # difference covers 0 in about 95; beyond 12 and below 85 would be less than a thousandth each.
    rng, below, covered = np.random.default_rng(6), 0, 0
    for seed in range(100):
        a, b = rng.exponential(size=(2, 20)).tolist()
        found = compare_by_swapping(units(a), units(b), statistic=middle_of, seed=seed)
        below += found.p < 0.05
        covered += found.low <= 0 <= found.high
    assert below <= 12 and covered >= 85
