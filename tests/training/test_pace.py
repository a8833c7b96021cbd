"""Time left: by tokens, with evaluations and checkpoints, and silent until steps have warmed up."""

import pytest

from finetrial.training.pace import Pace
from finetrial.training.step_plan import RunWork, forward_work


def replay(pace, work, *, rate, cold=3.0, evaluating=None, saving=None):
    """Drive a run whose steps take `rate` seconds a unit, the first `cold` times as long."""
    now, since, every = 0.0, 0.0, pace._checkpoint_seconds
    if 0 in work.evaluations:
        took = work.evaluations[0] * (evaluating or rate) * cold
        pace.evaluated(0, seconds=took)
        now += took
    pace.start(now=now)
    rows = []
    for step, units in enumerate(work.steps):
        took = units * rate * (cold if step == 0 else 1.0)
        now, since = now + took, since + took
        if step + 1 in work.evaluations:
            took = work.evaluations[step + 1] * (evaluating or rate)
            pace.evaluated(step + 1, seconds=took)
            now, since = now + took, since + took
        pace.stepped(step, now=now)
        rows.append((step + 1, now, pace.seconds_left(step + 1, since_saved=since)))
        if saving is not None and since >= every:
            pace.saved(seconds=saving)
            now, since = now + saving, 0.0
    end = now + work.end * (evaluating or rate)
    return [(step, forecast, end - at) for step, at, forecast in rows]


def test_after_a_twentieth_of_a_run_the_forecast_is_within_a_quarter_of_what_is_left():
    # a third of the time goes to evaluations, later steps hold twice the tokens, the first step is cold
    steps = tuple(100.0 + step for step in range(100))
    work = RunWork(steps=steps, evaluations={0: 600.0, **dict.fromkeys(range(10, 101, 10), 600.0)}, end=900.0)
    seen = replay(Pace(work, checkpoint_seconds=60), work, rate=0.01)
    checked = 0
    for step, forecast, left in seen:
        if step >= 5 and left > 0:
            assert forecast == pytest.approx(left, rel=0.25), step
            checked += 1
    assert checked == 96
    assert seen[1][1] is None, "two steps say nothing"


def test_a_cold_start_does_not_slow_the_forecast():
    work = RunWork(steps=(100.0,) * 50, evaluations={}, end=0.0)
    seen = replay(Pace(work, checkpoint_seconds=60), work, rate=0.01, cold=40.0)
    for step, forecast, left in seen[4:-1]:
        assert forecast == pytest.approx(left, rel=0.05), step


def test_evaluations_to_come_are_counted_at_the_rate_of_those_that_were():
    work = RunWork(steps=(100.0,) * 100, evaluations=dict.fromkeys((0, 25, 50, 75, 100), 400.0), end=0.0)
    seen = replay(Pace(work, checkpoint_seconds=60), work, rate=0.01, evaluating=0.02, cold=1.0)
    for step, forecast, left in seen[25:-1]:
        assert forecast == pytest.approx(left, rel=0.02), step


def test_checkpoints_to_come_are_counted_once_one_was_written():
    work = RunWork(steps=(100.0,) * 300, evaluations={}, end=0.0)
    seen = replay(Pace(work, checkpoint_seconds=60), work, rate=0.01, cold=1.0, saving=15.0)
    for step, forecast, left in seen[61:-1]:
        assert forecast == pytest.approx(left, abs=16.0), step


def test_long_examples_cost_more_than_their_tokens():
    # by the rule: 400 + 5/12 400^2/576 = 515.7; two of 200 are 2 (200 + 28.9) = 457.9
    assert forward_work([400], width=576) == pytest.approx(515.7, abs=0.1)
    assert forward_work([200, 200], width=576) == pytest.approx(457.9, abs=0.1)
