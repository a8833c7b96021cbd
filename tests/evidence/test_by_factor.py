"""A setting's gain is over arms that are alike in all else, worked by hand."""

import pytest

from finetrial.evidence.by_factor import factors_of

SETTINGS = {
    "a": {"rank": 4, "learning_rate": 1e-3},
    "b": {"rank": 4, "learning_rate": 1e-4},
    "c": {"rank": 16, "learning_rate": 1e-3},
    "d": {"rank": 16, "learning_rate": 1e-4},
}
MEANS = {
    "a": {"p": 0.1, "q": 0.3, "r": 0.5},
    "b": {"p": 0.2, "q": 0.2, "r": 0.2},
    "c": {"p": 0.4, "q": 0.4, "r": 0.7},
    "d": {"p": 0.3, "q": 0.5, "r": 0.4},
}


def found(settings=SETTINGS, means=MEANS, groups=None, methods=None):
    methods = methods or dict.fromkeys(settings, "lora")
    return {f.key: f for f in factors_of(settings, methods=methods, means=means, groups=groups or {})}


def test_the_gain_of_a_level_is_the_mean_over_pairs_and_prompts():
    rank = found()["rank"]
    assert [level.value for level in rank.levels] == [4, 16] and rank.levels[0].gain is None
    sixteen = rank.levels[1]
    assert sixteen.arms == ("c", "d") and sixteen.n_pairs == 2
    # c - a: .3 .1 .2; d - b: .1 .3 .2; their means by prompt .2 .2 .2
    assert sixteen.gain.estimate == pytest.approx(0.2) and sixteen.gain.n_units == 3
    assert rank.levels[0].mean == pytest.approx(0.25) and sixteen.mean == pytest.approx(0.45)
    rate = found()["learning_rate"].levels
    assert [level.value for level in rate] == [1e-4, 1e-3]
    # a - b: -.1 .1 .3; c - d: .1 -.1 .3; means 0 0 .3
    assert rate[1].gain.estimate == pytest.approx(0.1)


def test_arms_that_differ_in_two_settings_are_no_pair():
    settings = {name: SETTINGS[name] for name in "abd"}
    rank = found(settings)["rank"].levels[1]
    assert rank.n_pairs == 1 and rank.gain.estimate == pytest.approx(0.2)  # d - b alone
    alone = {"a": {"rank": 4}, "b": {"rank": 8, "epochs": 2}, "c": {"rank": 16, "epochs": 3}}
    levels = found(alone)["rank"].levels
    assert [level.n_pairs for level in levels] == [0, 0, 0] and all(level.gain is None for level in levels)
    assert [level.value for level in found(alone)["epochs"].levels] == [None, 2, 3]


def test_prompts_of_one_group_count_once():
    groups = {"p": "g", "q": "g", "r": None}
    gain = found(groups=groups)["learning_rate"].levels[1].gain
    assert gain.n_units == 2 and gain.estimate == pytest.approx(0.15)  # (0 + 0) / 2 and .3


def test_two_arms_and_arms_of_different_methods_have_no_factor():
    assert found({name: SETTINGS[name] for name in "ab"}) == {}
    assert found(methods={"a": "lora", "b": "full", "c": "lora", "d": "full"}) == {}
    assert found({name: {"rank": 4} for name in "abc"}) == {}


def test_an_arm_that_is_not_sampled_yet_is_left_out():
    rank = found(means={name: MEANS[name] for name in "abc"})["rank"].levels[1]
    assert rank.n_pairs == 1 and rank.mean == pytest.approx(0.5) and rank.gain.estimate == pytest.approx(0.2)
