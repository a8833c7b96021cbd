"""How many prompts find a difference, and how long grading them takes."""

import pytest

from finetrial.planning.sample_size import grading_plan, sample_size
from finetrial.stats.power import Spread


def test_two_arms_with_one_sample_each_at_even_odds():
    # (1.95996 + 0.84162)^2 (0.25 + 0.25) / 0.2^2 = 7.8489 x 12.5 = 98.1
    assert sample_size(arms=2, per_prompt=1).needed.prompts == 99


def test_every_pair_of_three_arms_is_held_against_a_third_of_alpha():
    # alpha .05 / 3: (2.39398 + 0.84162)^2 = 10.469; (0.25 + 0.25) / 3 / 0.04 = 4.1667; product 43.6
    assert sample_size(arms=3, per_prompt=3).needed.prompts == 44


def test_a_pilots_variance_takes_the_place_of_the_assumption_and_is_named():
    pilot = Spread(between=0.01, within_a=0.0, within_b=0.0, samples=1, n_prompts=40)
    found = sample_size(arms=2, per_prompt=1, difference=0.1, pilot=pilot)
    assert found.needed.prompts == 8  # 7.849 x 0.01 / 0.01, and no fewer than 6
    assert "40 prompts" in found.assumption


def test_one_arm_alone_compares_nothing():
    size = sample_size(arms=1, per_prompt=3)
    assert size.needed is None


def test_a_prompt_is_read_once_and_every_sample_read_and_decided():
    found = grading_plan(
        sample_size(arms=3, per_prompt=3),
        prompts=5,
        arms=3,
        per_prompt=3,
        prompt_tokens=200,
        answer_tokens=40,
        raters=1,
        repeats=0.0,
    )
    # 238 words a minute at 4 tokens to 3 words: 5.289 tokens a second; 5 x 200 + 45 x 40 = 2,800 take 529.4 s;
    # 45 x 4 s
    assert found.samples == 45
    assert found.seconds == pytest.approx(529.4 + 180, abs=0.05)
    assert found.least_p == pytest.approx(3 * 2**-4)
