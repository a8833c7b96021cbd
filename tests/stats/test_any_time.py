"""Looking whenever one likes raises no more false alarms than alpha, and stops early where there is something."""

import itertools
import math

import numpy as np
import pytest

from finetrial.stats.any_time import (
    AnyTime,
    any_time,
    log_above_process,
    log_sign_flip_process,
    people_paths,
    stand_of,
)


def test_the_stake_against_the_sign_flip_null_is_fair_whatever_the_sizes():
    sizes = [1.0, 1 / 3, 0.0, 2 / 3, 1 / 7]
    stakes = [
        math.exp(log_sign_flip_process([s * d for s, d in zip(signs, sizes, strict=True)])[-1])
        for signs in itertools.product((-1, 1), repeat=5)
    ]
    assert len(stakes) == 32 and np.mean(stakes) == pytest.approx(1.0), "its mean over all signs is what was staked"


def test_the_stake_against_a_low_mean_does_not_grow_where_the_mean_is_at_the_bound():
    # -1 or 1 with a mean of -.1: over all outcomes, weighted by their probability
    share = 0.45
    mean = 0.0
    for outcome in itertools.product((-1.0, 1.0), repeat=8):
        weight = math.prod(share if d > 0 else 1 - share for d in outcome)
        mean += weight * math.exp(log_above_process(outcome, bound=-0.1)[-1])
    assert mean == pytest.approx(1.0)


def test_false_alarms_under_continuous_looking_stay_within_alpha():
    rng = np.random.default_rng(0)
    gaps = rng.choice([-1.0, -1 / 3, 0.0, 1 / 3, 1.0], size=(2_000, 150))
    alarms = (log_sign_flip_process(gaps) >= math.log(2 / 0.05)).any(axis=1)
    alarms |= (log_sign_flip_process(-gaps) >= math.log(2 / 0.05)).any(axis=1)
    error = math.sqrt(0.05 * 0.95 / 2_000)
    assert 0 < alarms.mean() <= 0.05 + 2 * error


def test_a_clear_difference_is_enough_soon_and_none_is_said_within_the_margin_later():
    found = any_time(people_paths([1.0, 2 / 3] * 5, margin=0.1), alpha=0.05)
    assert found.settled and found.p_better < 0.025 and found.p_worse > 0.5
    rng = np.random.default_rng(1)
    alike = rng.choice([-1 / 3, 0.0, 1 / 3], p=[0.1, 0.8, 0.1], size=150)
    same = any_time(people_paths(list(alike), margin=0.2), alpha=0.05)
    assert same.settled and same.p_within < 0.05 and min(same.p_better, same.p_worse) > 0.025


def test_what_is_still_needed_is_told_by_the_pace_so_far():
    few = any_time(people_paths([1.0, 1.0], margin=0.1), alpha=0.05)
    assert not few.settled and 1 <= few.more <= 20
    assert any_time(people_paths([], margin=0.1), alpha=0.05).more is None
    settled, open_, lost = (AnyTime(9, 0.1, 1, 1, more) for more in (0, 7, None))
    assert stand_of([settled, settled]).enough and stand_of([settled, open_]).prompts_more == 7
    assert stand_of([open_, lost]).prompts_more is None and not stand_of([]).enough
