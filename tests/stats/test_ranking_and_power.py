"""Power, concordance with people, and strengths from preferences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from finetrial.errors import UserError
from finetrial.stats import (
    Judged,
    area_under_curve,
    bradley_terry,
    concordance,
    detectable_difference,
    fewest_prompts,
    observed_spread,
    prompts_needed,
    same_ranking,
    worst_disagreements,
)


def judged(rows: list[tuple[str, str, float, float]]) -> list[Judged]:
    return [Judged(f"s{i}", prompt, arm, score, grade) for i, (prompt, arm, score, grade) in enumerate(rows)]


def test_prompts_needed_is_the_formula() -> None:
    # 7.849 (.02 + (.01 + .01)/3) / .1² = 20.93 -> 21.
    found = prompts_needed(0.1, between=0.02, within_a=0.01, within_b=0.01, samples=3)
    assert (found.prompts, found.by_variance, found.by_test) == (21, 21, 6)
    # A large difference is bounded by the test: 2^(1-n) <= .05/3 needs 7.
    assert prompts_needed(5, between=0.02, n_pairs=3).prompts == 7
    assert prompts_needed(0, between=0.02).prompts is None


def test_fewest_prompts_by_hand() -> None:
    # 2^-5 = .03125 <= .05 < 2^-4; 2^-6 = .0156 <= .05/3.
    assert (fewest_prompts(), fewest_prompts(n_pairs=3), fewest_prompts(alpha=0.0625)) == (6, 7, 5)


def test_detectable_difference_inverts_prompts_needed() -> None:
    spread = {"between": 0.02, "within_a": 0.01, "within_b": 0.03, "samples": 2}
    for n in (8, 30, 200):
        assert prompts_needed(detectable_difference(n, **spread) * 1.0000001, **spread).prompts == n
    assert detectable_difference(5, **spread) is None


def test_the_promised_power_is_the_measured_one() -> None:
    rng, found = np.random.default_rng(0), 0
    n = prompts_needed(0.3, between=0.25, within_a=0.2, within_b=0.1, samples=2).prompts
    for _ in range(1000):
        gaps = rng.normal(0.3, math.sqrt(0.25 + 0.3 / 2), n)
        found += abs(gaps.mean()) > 1.96 * gaps.std(ddof=1) / math.sqrt(n)
    assert found / 1000 == pytest.approx(0.8, abs=0.04)


def test_observed_spread_takes_the_sampling_noise_off() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(rng.normal(0, 0.5, (4000, 1)), 0.3, (4000, 3))
    b = rng.normal(0, 0.6, (4000, 3))
    found = observed_spread(a.tolist(), b.tolist())
    assert found.between == pytest.approx(0.25, rel=0.1)
    assert (found.within_a, found.within_b) == (pytest.approx(0.09, rel=0.1), pytest.approx(0.36, rel=0.1))
    assert found.samples == 3
    assert observed_spread([[1.0]], [[2.0]]).between is None


def test_concordance_by_hand() -> None:
    # Prompt p: good .9, .2; bad .2, .1. Pairs: .9>.2 .9>.1 .2=.2 .2>.1 -> 3.5 of 4. Prompt q has one grade: no
    # pair.
    samples = judged(
        [("p", "a", 0.9, 1), ("p", "b", 0.2, 1), ("p", "a", 0.2, 0), ("p", "b", 0.1, 0), ("q", "a", 0.0, 1)]
    )
    found = concordance(samples)
    assert (found.value, found.n_pairs, found.tied_scores) == (3.5 / 4, 4, 1)
    assert found.low is None and "fewer than 5 prompts" in found.reason
    # Over all samples the good .0 of q loses to both bad ones: 3.5 of 6.
    assert area_under_curve(samples).value == 3.5 / 6


def test_area_under_curve_bounds_hold_the_value_and_ignore_order() -> None:
    rng = np.random.default_rng(0)
    samples = judged([(f"p{i}", "a", rng.normal(g), float(g)) for i in range(30) for g in (0, 1, 1)])
    found = area_under_curve(samples)
    assert found.low < found.value < found.high
    assert area_under_curve(samples[::-1]) == found
    # Two standard normals one apart: Phi(1 / sqrt 2) = .7602.
    assert found.value == pytest.approx(0.76, abs=0.1)
    assert area_under_curve(judged([("p", "a", 1.0, 1.0)])).reason.startswith("all grades are the same")


def test_three_arms_in_perfect_order_prove_nothing() -> None:
    rows = [
        (f"p{i}", arm, score + 0.01 * i, grade)
        for i in range(8)
        for arm, score, grade in (("base", 0.1, 0.0), ("lora", 0.2, 0.5), ("full", 0.3, 1.0))
    ]
    found = same_ranking(judged(rows))
    assert (found.same_best, found.same_ranking, found.rank_correlation) == (1, 1, 1)
    assert found.smallest_p == pytest.approx(1 / 6)
    assert found.best_by_score == found.best_by_grade == ("full",)


def test_metric_and_people_who_differ_are_told_apart() -> None:
    # The metric prefers lora in every prompt, people prefer full in every prompt.
    rows = [
        (f"p{i}", arm, score, grade)
        for i in range(8)
        for arm, score, grade in (("lora", 0.9, 0.0), ("full", 0.1, 1.0))
    ]
    found = same_ranking(judged(rows))
    assert (found.same_best, found.same_ranking, found.rank_correlation) == (0, 0, -1)
    worst = worst_disagreements(judged(rows), most=3)
    assert len(worst) == 3 and {d.gap for d in worst} <= {0.5, -0.5}
    assert same_ranking(judged(rows[:1])).same_best is None


def test_bradley_terry_of_two_arms_is_the_log_odds() -> None:
    units = [{("a", "b"): 1.0}] * 30 + [{("b", "a"): 1.0}] * 10  # one choice a prompt: prompts are independent
    found = bradley_terry(units)
    assert found.strengths["a"].value - found.strengths["b"].value == pytest.approx(math.log(3))
    assert found.probability("a", "b") == pytest.approx(0.75)
    # Error of the log odds: sqrt(1/30 + 1/10); each strength is half of the difference.
    reach = 1.959964 * math.sqrt(1 / 30 + 1 / 10) / 2
    assert found.strengths["a"].high - found.strengths["a"].low == pytest.approx(2 * reach, rel=0.1)
    assert bradley_terry(units[::-1]) == found  # the order of prompts says nothing


def test_choices_of_one_prompt_are_resampled_together() -> None:
    alone = bradley_terry([{("a", "b"): 1.0}] * 30 + [{("b", "a"): 1.0}] * 10).strengths["a"]
    together = bradley_terry([{("a", "b"): 3.0}] * 10 + [{("b", "a"): 2.0}] * 5).strengths["a"]
    assert together.value == pytest.approx(alone.value)
    assert together.high - together.low > 1.3 * (alone.high - alone.low)


@pytest.mark.parametrize(
    "units, why",
    [
        ([{("a", "b"): 2.0, ("b", "a"): 1.0}] * 4, "fewer than 5 prompts"),
        ([{("a", "b"): 2.0, ("b", "a"): 1.0}] * 9, "say nothing of the spread"),
        ([{("a", "b"): 1.0}] * 8 + [{("b", "a"): 1.0}], "in many resamples"),
    ],
)
def test_strengths_without_bounds_say_why(units, why) -> None:
    found = bradley_terry(units)
    assert {(row.low, row.high) for row in found.strengths.values()} == {(None, None)}
    assert why in found.reason


def test_bradley_terry_recovers_what_it_was_drawn_from() -> None:
    rng, true = np.random.default_rng(0), {"a": 1.0, "b": 0.2, "c": -1.2}
    wins: dict[tuple[str, str], float] = {}
    for a in true:
        for b in true:
            if a < b:
                n_a = rng.binomial(20_000, 1 / (1 + math.exp(true[b] - true[a])))
                wins[a, b], wins[b, a] = n_a, 20_000 - n_a
    found = bradley_terry([wins])
    for arm, value in true.items():
        assert found.strengths[arm].value == pytest.approx(value, abs=0.04)


def test_an_arm_that_never_lost_has_no_strength() -> None:
    found = bradley_terry([{("a", "b"): 3, ("b", "c"): 1, ("c", "b"): 1}])
    assert found.strengths is None and "never preferred" in found.reason
    with pytest.raises(UserError):
        bradley_terry([{("a", "a"): 1}])


def test_a_metric_that_ties_everywhere_has_no_interval_from_50_to_50() -> None:
    rows = [(f"p{i}", arm, 0.0, grade) for i in range(8) for arm, grade in (("a", 1.0), ("b", 0.0))]
    for found in (concordance(judged(rows)), area_under_curve(judged(rows))):
        assert (found.value, found.low, found.high) == (0.5, None, None)
        assert "say nothing of the spread" in found.reason
