"""Guesses against chance."""

import pytest

from finetrial.errors import UserError
from finetrial.stats.guessing import guessing_test


def test_all_right_on_nine_of_three_arms_is_rarer_than_one_in_a_thousand():
    arms = ["a", "b", "c"] * 3
    result = guessing_test(arms, [{arm} for arm in arms])
    assert (result.hits, result.of) == (9, 9)
    assert result.expected == pytest.approx(3.0)  # 9 guesses, each right of a third of the texts
    # Exactly: (3!)^3 of 9! orders give nine hits, 1 in 1680.
    assert result.p == pytest.approx(1 / 1680, abs=0.001)


def test_one_right_of_two_is_what_chance_gives():
    # Two guesses a, b on texts of a, b: both orders are 2 hits or 0; here 2 hits, p = 1/2.
    result = guessing_test(["a", "b"], [{"a"}, {"b"}])
    assert result.p == pytest.approx(0.5, abs=0.02) and result.expected == pytest.approx(1.0)


def test_a_text_that_two_arms_wrote_is_right_for_both():
    assert guessing_test(["a", "b"], [{"a", "b"}, {"a", "b"}]).hits == 2


def test_naming_one_arm_always_or_nothing_proves_nothing():
    assert guessing_test(["a", "a"], [{"a"}, {"b"}]).p is None
    assert guessing_test([], []).reason == "nobody guessed"


def test_the_seed_is_the_result():
    guessed, truth = ["a", "b", "b", "a", "c"], [{"a"}, {"a"}, {"b"}, {"c"}, {"c"}]
    assert guessing_test(guessed, truth, seed=3) == guessing_test(guessed, truth, seed=3)


def test_guesses_and_texts_must_match():
    with pytest.raises(UserError):
        guessing_test(["a"], [])
