"""Intervals hold the truth as often as they say, and say so where they cannot exist."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrial.errors import UserError
from finetrial.stats import Method, good_of_n, mean_interval, paired_interval, unit_means, wilson_interval

VALUES = st.lists(st.floats(-1e3, 1e3).map(lambda v: round(v, 3)), min_size=2, max_size=40)


def test_wilson_equals_the_published_worked_values() -> None:
    # 0/3 and 3/3 from the formula by hand: at p = 0 the high end is z²/(n + z²) = 3.8415/6.8415 = .5615.
    assert wilson_interval(0, 3).high == pytest.approx(0.56150, abs=5e-6)
    assert wilson_interval(3, 3).low == pytest.approx(1 - 0.56150, abs=5e-6)
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263 -> .2553 to .3662; 15/148 -> .0624
    # to .1605.
    assert (wilson_interval(81, 263).low, wilson_interval(81, 263).high) == pytest.approx(
        (0.2553, 0.3662), abs=5e-5
    )
    assert (wilson_interval(15, 148).low, wilson_interval(15, 148).high) == pytest.approx(
        (0.0624, 0.1605), abs=5e-5
    )


def test_few_prompts_get_student_s_t() -> None:
    # Differences 1..5: mean 3, sd sqrt(2.5), t_4 = 2.776445: 3 ± 2.776445 * sqrt(2.5 / 5).
    found = paired_interval([3, 5, 7, 9, 11], [2, 3, 4, 5, 6])
    assert found.method is Method.T
    assert (found.low, found.high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-6)


def test_zero_one_values_get_exact_bounds() -> None:
    # Clopper & Pearson at 0 of n: high = 1 - (alpha/2)^(1/n).
    found = mean_interval([0, 0, 0, 0, 0])
    assert (found.low, found.high) == (0, pytest.approx(1 - 0.025 ** (1 / 5)))
    assert found.method is Method.EXACT
    # The same numbers as differences are no shares: a prompt may yet differ by -1.
    assert paired_interval([0, 0, 0, 0, 0]).low is None


def test_differences_of_zero_one_values_get_bounds_of_paired_shares() -> None:
    # Bonett & Price by hand: 3 wins, 1 loss of 10: w = 4/12, l = 2/12, d = 1/6, se = sqrt((.5 - 1/36) / 12) =
    # .19837.
    found = paired_interval([1, 1, 1, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 0, 0, 0, 1, 1, 1])
    assert found.method is Method.PAIRED_SHARES
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx(
        (1 / 6 - 1.959964 * 0.198372, 1 / 6 + 1.959964 * 0.198372), abs=1e-5
    )
    # It holds its level where Student's t covers 88 %: 20 prompts, 18 % win, 2 % lose.
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        gaps = rng.choice([-1, 0, 1], 20, p=[0.02, 0.8, 0.18])
        bounds = paired_interval((gaps > 0) * 1.0, (gaps < 0) * 1.0)
        covered += bounds.low <= 0.16 <= bounds.high
    assert covered >= 935


@pytest.mark.parametrize(
    ("n_prompts", "least", "draw", "truth"),
    [
        (5, 0.93, lambda rng, n: rng.normal(size=n), 0.0),
        (50, 0.94, lambda rng, n: rng.normal(size=n), 0.0),
        (50, 0.94, lambda rng, n: rng.exponential(size=n), 1.0),
        (50, 0.94, lambda rng, n: rng.gamma(0.5, size=n), 0.5),
        (50, 0.94, lambda rng, n: (rng.random(n) < 0.5) * 1.0, 0.5),
        (50, 0.94, lambda rng, n: (rng.random(n) < 0.1) * 1.0, 0.1),
    ],
    ids=["normal, 5", "normal, 50", "exponential, 50", "gamma, 50", "half, 50", "tenth, 50"],
)
def test_coverage_by_simulation(n_prompts: int, least: float, draw, truth: float) -> None:
    # 1200 data sets: the standard error of a coverage of .95 is .0063; a drop below `least` less two of them fails.
    rng, simulations = np.random.default_rng(7), 1200
    found = [mean_interval(draw(rng, n_prompts).tolist(), seed=i) for i in range(simulations)]
    covered = sum(f.low <= truth <= f.high for f in found)
    assert len(found) == simulations
    assert covered / simulations >= least - 2 * math.sqrt(0.05 * 0.95 / simulations)
    # ... and not by being useless: exact and skew-proof bounds cover 94-98 %, infinite ones would cover all.
    assert covered / simulations <= 0.985


def test_the_bootstrap_helps_where_student_s_t_fails() -> None:
    # Skewed data: the truth lies above the interval more often than below; the bootstrap moves the upper end out.
    rng = np.random.default_rng(3)
    wider = 0
    for seed in range(40):
        values = rng.gamma(0.5, size=20)
        found = mean_interval(values.tolist(), seed=seed)
        reach = 2.093024 * values.std(ddof=1) / math.sqrt(20)  # t_19 at 97.5 %
        wider += found.high > values.mean() + 1.05 * reach
    assert wider > 30


@settings(max_examples=60, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_order_of_prompts_changes_nothing(values: list[float], random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert mean_interval(values) == mean_interval(shuffled)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 0.25, 0.1]), min_size=1, max_size=4), min_size=1, max_size=15))
def test_doubling_every_sample_and_reordering_change_no_interval(samples: list[list[float]]) -> None:
    once = {f"p{i}": row for i, row in enumerate(samples)}
    twice = {prompt: [*reversed(row), *row] for prompt, row in reversed(once.items())}
    assert unit_means(once) == unit_means(twice)
    intervals = [mean_interval(list(unit_means(table).values())) for table in (once, twice)]
    assert intervals[0] == intervals[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=4), min_size=1, max_size=15))
def test_copies_of_samples_make_no_good_of_n_surer(grades: list[list[float]]) -> None:
    once = {f"p{i}": row for i, row in enumerate(grades)}
    n_distinct = sum(map(len, grades))
    single = good_of_n(once, n_distinct=n_distinct)
    double = good_of_n({p: row * 2 for p, row in once.items()}, n_distinct=n_distinct)
    assert (single.low, single.high) == pytest.approx((double.low, double.high))


def test_good_of_n_lies_between_prompts_and_samples() -> None:
    # Every prompt all good or all bad: three samples say no more than one. 6 of 15 are worth 2 of 5.
    alike = good_of_n({p: [g] * 3 for p, g in zip("abcde", [1, 1, 0, 0, 0], strict=True)})
    assert (alike.good, alike.of, alike.effective_size) == (6, 15, 5)
    assert alike.low == pytest.approx(wilson_interval(2, 5).low)
    # Every prompt alike, two of three good: no spread between prompts, every sample counts.
    spread = good_of_n({p: [1, 1, 0] for p in "abcde"})
    assert spread.effective_size == 15
    # The published 15 of 15 over five posts: the spread between prompts is unknown, so the posts count.
    all_good = good_of_n({p: [1, 1, 1] for p in "abcde"})
    assert all_good.effective_size == 5
    assert all_good.low == pytest.approx(wilson_interval(5, 5).low)


def test_rows_of_one_group_are_one_unit() -> None:
    means = unit_means({"a": [1, 3], "b": [6], "c": [0]}, groups={"a": "customer", "b": "customer", "c": None})
    assert means == {"customer": 4.0, "c": 0.0}  # ((1 + 3)/2 + 6) / 2


def test_what_cannot_be_said_is_none_with_a_reason() -> None:
    cases = {
        "no value": mean_interval([]),
        "no value left": mean_interval([None, math.nan]),
        "one prompt": mean_interval([0.3]),
        "all 4 values are equal": mean_interval([0.3] * 4),
        "infinite": mean_interval([0.1, math.inf, 0.2]),
        "all 2 differences are equal": paired_interval([0.5, 0.7], [0.5, 0.7]),
    }
    for reason, found in cases.items():
        assert found.low is None and found.high is None, reason
        assert reason.split(" left")[0].strip() in found.reason
    assert len(cases) == 6
    assert mean_interval([None, 1.5, math.nan, 2.5, 4.0]).n_missing == 2
    assert good_of_n({"a": [None]}).reason == "nothing was judged"


def test_bounds_cut_the_interval() -> None:
    assert mean_interval([0.01, 0.0, 0.4], bounds=(0, 1)).low == 0
    assert mean_interval([0.01, 0.0, 0.4]).low < 0


def test_bad_input_is_one_clear_error() -> None:
    for wrong in (lambda: wilson_interval(4, 3), lambda: mean_interval([1, 2], level=95)):
        with pytest.raises(UserError):
            wrong()
    with pytest.raises(UserError, match="same prompts"):
        paired_interval([1, 2], [1])
    with pytest.raises(UserError, match="1 for good or 0 for bad"):
        good_of_n({"a": [2]})


def test_differences_that_are_equal_but_for_rounding_do_not_blow_the_bootstrap_up():
    # Eleven gains of 0.1 that differ in the last digit and one of 0.2: a third of the resamples lack the one, vary
    # by rounding alone, and would give ratios of 1e14.
    gains = [(0.7 + i * 0.013) - (0.6 + i * 0.013) for i in range(11)] + [0.2]
    assert len(set(gains)) == 3
    found = paired_interval(gains)
    # a standard error of 0.1/12 and at most a few of them on either side
    assert 0.05 < found.low < 0.1 < sum(gains) / 12 < found.high < 0.2


def test_no_difference_of_shares_exceeds_one():
    # Student's t of these three reaches far beyond 1; values between 0 and 1 cannot differ by more.
    free = paired_interval([0.9, 0.1, 1.0], [0.0, 0.05, 0.0])
    assert free.high > 1 and free.low < 0
    cut = paired_interval([0.9, 0.1, 1.0], [0.0, 0.05, 0.0], bounds=(0.0, 1.0))
    assert (cut.low, cut.high) == (free.low, 1.0)
