"""The sign-flip test is what full enumeration says, holds its level, and cannot be fooled by order or copies."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetrial.errors import UserError
from finetrial.stats import (
    Question,
    compare_every_pair,
    compare_on_new_prompts,
    compare_on_these_prompts,
    compare_retrained,
    holm,
    sign_flip_test,
    within_prompt_test,
)

THIRDS = st.integers(-3, 3).map(lambda v: v / 3)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(THIRDS, st.integers(-50, 50).map(float)), min_size=1, max_size=11))
def test_equals_full_enumeration(differences: list[float]) -> None:
    # In integers (thirds times three), so that the enumeration here knows no rounding.
    whole = [round(3 * d) for d in differences]
    sums = [
        abs(sum(s * w for s, w in zip(signs, whole, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(whole))
    ]
    expected = sum(total >= abs(sum(whole)) for total in sums) / len(sums)
    assert sign_flip_test(differences).p == pytest.approx(expected, abs=1e-12)


def test_five_prompts_cannot_reach_the_five_percent_level() -> None:
    found = sign_flip_test([0.3, 0.2, 0.4, 0.1, 0.5])
    assert (found.p, found.smallest_p, found.exact) == (2 / 32, 0.0625, True)
    assert (found.wins, found.losses, found.ties) == (5, 0, 0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60))
def test_an_arm_against_itself_gives_one(values: list[float]) -> None:
    assert sign_flip_test(values, values).p == 1
    assert compare_on_new_prompts(values, values).p == 1


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-10, 10).map(lambda v: round(v, 4)), min_size=1, max_size=60),
    st.randoms(use_true_random=False),
)
def test_order_and_direction_change_nothing(values: list[float], random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert sign_flip_test(values) == sign_flip_test(shuffled)
    assert sign_flip_test([-v for v in values]).p == sign_flip_test(values).p


def test_drawn_signs_agree_with_exact_ones() -> None:
    # 36 differences are enumerated; two more of a billionth make the test draw, and change no p that matters.
    rng = np.random.default_rng(0)
    exact = rng.normal(0.25, 1, 36).tolist()
    drawn = sign_flip_test([*exact, 1e-9, 1e-9])
    assert (drawn.exact, sign_flip_test(exact).exact) == (False, True)
    p = sign_flip_test(exact).p
    assert drawn.p == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 99_999))
    assert sign_flip_test([1.0] * 200).p == 1 / 100_000  # the +1 rule: never zero


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])] * 2), min_size=2, max_size=14), st.booleans()
)
def test_the_interval_of_a_difference_holds_zero_where_the_test_does_not_reject_it(pairs, whole) -> None:
    a, b = ([float(round(v) if whole else v) for v in arm] for arm in zip(*pairs, strict=True))
    found = compare_on_new_prompts(a, b, bounds=(0.0, 1.0))
    if found.low is None:
        return
    assert -1 <= found.low <= found.difference <= found.high <= 1
    if found.p >= 0.05:
        assert found.low <= 0 <= found.high
    else:
        assert found.low >= 0 or found.high <= 0


def test_five_prompts_of_one_sign_do_not_leave_zero_out() -> None:
    found = compare_on_new_prompts([1.0] * 5, [1 / 3, 0.0, 0.0, 0.0, 0.0], bounds=(0.0, 1.0))
    assert found.p == 0.0625 and (found.low, found.high) == (0.0, 1.0)


def test_the_level_holds_where_nothing_differs() -> None:
    # Skewed but symmetric under the null: 2000 data sets of 12 prompts; se of .05 is .005.
    rng = np.random.default_rng(1)
    p = [sign_flip_test((rng.exponential(size=12) - rng.exponential(size=12)).tolist()).p for _ in range(2000)]
    assert 0.03 < np.mean(np.array(p) <= 0.05) < 0.065


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04 -> 4x, 3x, 2x, 1x = .02 .03 .06 .04 -> made monotone .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.01, None, 0.5]) == (0.02, None, 0.5)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()
    with pytest.raises(UserError):
        holm([1.2])


def test_these_prompts_and_new_prompts_are_different_questions() -> None:
    # Arm a is better on half of the prompts and worse on the other half, by much and surely: on *these* prompts the
    # means differ a little and surely; of *new* prompts nothing can be said.
    rng = np.random.default_rng(0)
    shift = np.array([1.0, -0.8] * 8)[:, None]
    a, b = rng.normal(shift, 0.02, (16, 4)).tolist(), rng.normal(0, 0.02, (16, 4)).tolist()
    these = compare_on_these_prompts(a, b)
    new = compare_on_new_prompts([float(np.mean(r)) for r in a], [float(np.mean(r)) for r in b])
    assert these.difference == pytest.approx(new.difference)
    assert these.p < 0.3 and new.p > 0.5  # shuffling within prompts pools the arms, so that it is no p of .001
    assert 0 < these.low < these.high < 0.2 and new.low < 0 < new.high
    assert (these.question, new.question) == (Question.THESE, Question.NEW) == ("these", "new")


def test_the_interval_on_these_prompts_holds_its_level() -> None:
    rng, covered, simulations = np.random.default_rng(5), 0, 400
    for _ in range(simulations):
        truth = rng.normal(size=(10, 1))  # these ten prompts' own differences, held fixed
        a, b = rng.normal(truth, 1.0, (10, 3)), rng.normal(0, 1.0, (10, 3))
        found = compare_on_these_prompts(a.tolist(), b.tolist())
        covered += found.low <= truth.mean() <= found.high
    assert 0.92 < covered / simulations < 0.98


def test_one_sample_per_prompt_says_nothing_of_these_prompts() -> None:
    found = compare_on_these_prompts([[1.0], [2.0]], [[0.0], [0.5]])
    assert (found.p, found.low, found.difference) == (None, None, 1.25)
    assert "one sample" in found.reason
    assert within_prompt_test([[1, 1], [2, 2]], [[1, 1], [2, 2]]).p == 1


def test_one_training_run_answers_for_its_weights_only() -> None:
    found = compare_retrained([[0.5, 0.6, 0.7]], [[0.1, 0.2, 0.2]], b_is_trained=False)
    assert found.p is None and "these weights only" in found.reason
    assert found.question == "retrained"


def test_retrained_counts_runs_as_well_as_prompts() -> None:
    # Two runs that differ by 1 in every prompt: many prompts cannot make up for it.
    rng = np.random.default_rng(0)
    arm = rng.normal(0.5, 0.1, 200)
    runs = [(arm - 0.5).tolist(), (arm + 0.5).tolist()]
    found = compare_retrained(runs, [[0.0] * 200], b_is_trained=False)
    assert found.low < 0 < found.high
    assert compare_on_new_prompts(arm.tolist(), [0.0] * 200).p < 1e-4
    # By hand: V_runs = var(0, 1) / 2 = .25 on one degree of freedom (t = 12.7062), the prompts' part is near
    # nothing.
    assert found.high - found.difference == pytest.approx(12.7062 * 0.5, rel=1e-3)
    # p is the level at which the interval touches zero: t_1 = .5/.5 has two-sided p = .5 (Cauchy).
    assert found.p == pytest.approx(0.5, abs=0.02)


def test_retrained_covers_by_simulation() -> None:
    rng, covered, simulations = np.random.default_rng(2), 0, 400
    for _ in range(simulations):
        runs = rng.normal(size=30) + rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 0.5, (3, 30))
        found = compare_retrained(runs.tolist(), [[0.0] * 30], b_is_trained=False)
        covered += found.low <= 0 <= found.high
    assert covered / simulations > 0.93


def test_every_pair_is_corrected_together() -> None:
    rng = np.random.default_rng(0)
    arms = {name: rng.normal(shift, 0.1, 8).tolist() for name, shift in (("base", 0), ("full", 1), ("lora", 0.9))}
    pairs = compare_every_pair(arms, compare=compare_on_new_prompts)
    assert [(p.a, p.b) for p in pairs] == [("base", "full"), ("base", "lora"), ("full", "lora")]
    assert tuple(p.p_holm for p in pairs) == holm([p.p for p in pairs])
    assert pairs[0].p_holm == pytest.approx(3 * 2 / 2**8)


def test_missing_and_infinite_values_are_counted_or_refused() -> None:
    assert sign_flip_test([1, None, 2, math.nan], [0, 1, 0, 1]).n_missing == 2
    assert "infinite" in sign_flip_test([1, math.inf], [0, 0]).reason
    assert sign_flip_test([]).p is None
    assert compare_on_new_prompts([None], [None]).reason == "no prompt has a value of both arms"


def test_a_comparison_seen_from_the_other_arm_and_in_the_metrics_direction() -> None:
    (loss,) = compare_every_pair(
        {"a": [1.0, 1.2, 1.1, 1.3, 1.2, 1.4, 1.1, 1.2], "b": [2.0, 2.1, 2.3, 2.2, 2.0, 2.4, 2.2, 2.1]},
        compare=compare_on_new_prompts,
        metric="loss",
        lower_is_better=True,
    )
    assert loss.difference < 0 < loss.gain == -loss.difference and loss.is_better
    assert (loss.gain_low, loss.gain_high) == (-loss.high, -loss.low) and loss.gain_low < loss.gain < loss.gain_high
    back = loss.reversed()
    assert (back.a, back.b, back.difference, back.wins, back.losses) == ("b", "a", -loss.difference, 8, 0)
    assert back.is_worse and not back.is_better and back.p == loss.p and back.reversed() == loss
    exploratory = dataclasses.replace(loss, confirmatory=False)
    assert exploratory.p_holm is None and exploratory.is_significant and loss.p_holm == loss.p


def test_a_reason_names_what_has_one_value() -> None:
    said = "all 3 differences are equal: the data say nothing of the spread between groups"
    assert compare_on_new_prompts([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], unit="group").n_units == 3
    found = compare_on_new_prompts([0.5, 0.75, 1.0], [0.25, 0.5, 0.75], unit="group")
    assert (found.low, found.reason) == (None, said)
