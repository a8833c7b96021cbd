"""A judge helps grading that may stop at any time, and raises false alarms by nothing, whatever it is worth."""

import itertools
import math

import numpy as np
import pytest

from finetrial.stats.any_time import any_time, people_paths
from finetrial.stats.assisted_any_time import Flipped, assisted_paths, halves, log_assisted_above, payoffs

SHARE = 0.25


def trials(rng, *, shift, judge, units=120, trials=400):
    """Differences of 1, 0 and -1 with a mean of `shift`; the judge is right, leans to an arm, or knows nothing."""
    d = rng.choice([-1.0, 0.0, 1.0], p=[0.25 - shift / 2, 0.5, 0.25 + shift / 2], size=(trials, units))
    noise = rng.choice([-1.0, 0.0, 1.0], size=d.shape)
    f = {"right": d, "leaning": np.minimum(1.0, d + rng.choice([0, 1], size=d.shape)), "useless": noise}[judge]
    return np.where(rng.random(d.shape) < SHARE, d, np.nan), f


def named(people, judge):
    paid = payoffs(people, judge, share=SHARE)
    goal = math.log(2 / 0.05)
    return [(log_assisted_above(paid, bound=0.0, sign=sign) >= goal).any(axis=1) for sign in (1, -1)]


def test_the_stake_is_fair_over_all_coin_flips_and_signs_whatever_the_judge_says():
    judge, share, mean = np.array([1.0, -1.0, 1.0, 0.5]), 0.5, 0.0
    for flips in itertools.product((False, True), repeat=4):
        for signs in itertools.product((-1.0, 1.0), repeat=4):
            people = np.where(flips, signs, np.nan)
            stake = log_assisted_above(payoffs(people, judge, share=share), bound=0.0)[-1]
            mean += math.exp(stake) / 2**8
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("judge", ["right", "leaning", "useless"])
def test_false_alarms_under_continuous_looking_stay_within_alpha(judge):
    people, said = trials(np.random.default_rng(0), shift=0.0, judge=judge, trials=1_000)
    better, worse = named(people, said)
    assert (better | worse).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1_000)


def test_a_judge_that_is_right_finds_a_small_difference_more_often_and_a_useless_one_not():
    found = {}
    for judge in ("right", "useless"):
        people, said = trials(np.random.default_rng(1), shift=0.12, judge=judge, units=800, trials=200)
        better, worse = named(people, said)
        found[judge] = better.mean()
        assert worse.mean() < 0.02
    assert found["right"] > found["useless"] + 0.2


def test_half_of_the_stake_stays_with_people():
    people, said = trials(np.random.default_rng(2), shift=0.2, judge="useless", trials=1)
    people, said = people[0], said[0]
    graded = people[~np.isnan(people)]
    rows = Flipped(tuple(None if math.isnan(v) else float(v) for v in people), tuple(map(float, said)), SHARE)
    helped, alone = assisted_paths(rows, margin=0.1), people_paths(list(graded), margin=0.1)
    assert set(helped) == set(alone) and all(len(helped[name]) == len(graded) for name in helped)
    assert all((helped[name] >= alone[name] - math.log(2) - 1e-12).all() for name in helped)
    assert halves(np.log([2.0]), np.log([4.0]))[0] == pytest.approx(math.log(3.0))


def test_without_a_judges_answers_it_goes_on_by_people():
    rows = Flipped((1.0, None, 1.0, 1.0) * 5, (None,) * 20, 0.75)
    found = any_time(assisted_paths(rows, margin=0.1), alpha=0.05)
    assert found.settled and found.p_better < 0.05 and found.n == 15
    assert any_time(assisted_paths(Flipped((), (), 0.5), margin=0.1), alpha=0.05).more is None
