"""What is left of a whole run: arms to come and sampling at the rates that were measured."""

from dataclasses import MISSING, fields

import pytest

from finetrial.store.plan_record import Plan, PlanDevice, PlannedStep
from finetrial.workflow.forecast import Forecast, Job, in_planned_seconds

JOBS = (
    Job("tune lora", "lora", "tune", 200.0),
    Job("tune full", "full", "tune", 300.0),
    Job("sample base", "base", "sample", 60.0),
    Job("sample lora", "lora", "sample", 60.0),
)


def test_nothing_is_said_before_anything_was_timed():
    assert Forecast(JOBS).seconds_left() is None
    began = Forecast(JOBS)
    began.progress("tune lora", seconds=1.0, seconds_left=None)
    assert began.seconds_left() is None


def test_the_first_arm_s_pace_says_what_the_run_comes_to():
    run = Forecast(JOBS)
    run.progress("tune lora", seconds=5.0, seconds_left=95.0)
    # 100 s for 200 units: half a second each; 95 + (300 + 60 + 60) / 2
    assert run.seconds_left() == pytest.approx(95 + 150 + 30 + 30)


def test_an_arm_that_was_sampled_says_what_sampling_takes():
    run = Forecast(JOBS)
    run.ended("tune lora", seconds=100.0)
    run.ended("tune full", seconds=150.0)
    run.ended("sample base", seconds=120.0)
    assert run.seconds_left() == pytest.approx(120.0), "two seconds a unit, not half a one"
    run.progress("sample lora", seconds=10.0, seconds_left=90.0)
    assert run.seconds_left() == pytest.approx(90.0)
    run.ended("sample lora", seconds=100.0)
    assert run.seconds_left() == 0.0


def test_what_was_done_before_is_not_counted_and_not_timed():
    run = Forecast(JOBS)
    run.ended("tune lora", seconds=None)
    assert run.seconds_left() is None
    run.progress("tune full", seconds=0.0, seconds_left=300.0)
    assert run.seconds_left() == pytest.approx(300 + 60 + 60)


def test_a_job_that_knows_no_end_yet_counts_what_it_has_taken():
    run = Forecast(JOBS[:2])
    run.ended("tune lora", seconds=200.0)
    run.progress("tune full", seconds=40.0, seconds_left=None)
    assert run.seconds_left() == pytest.approx(260.0)


def test_an_arm_that_failed_is_no_longer_waited_for():
    run = Forecast(JOBS)
    run.ended("tune lora", seconds=100.0)
    run.given_up("full")
    assert run.seconds_left() == pytest.approx(60.0), "two arms' sampling, at half a second a unit"


PLAN_STEPS = (("start", None, 8.0), ("search", "lora", 12.0), ("tune", "lora", 50.0), ("tune", "full", 90.0))


def planned_by(steps):
    """A plan of which only the steps matter."""
    device = PlanDevice(name="cpu", kind="cpu", is_here=True, memory_bytes=None, disk_free_bytes=None)
    nothing = dict.fromkeys(f.name for f in fields(Plan) if f.default is MISSING)
    found = tuple(PlannedStep(kind=kind, arm=arm, seconds=seconds) for kind, arm, seconds in steps)
    return Plan(**{**nothing, "device": device, "arms": {}, "steps": found})


def test_a_run_begins_with_what_was_planned_and_is_corrected_by_what_was_measured():
    jobs = [
        Job("rate 1", "lora", "search", 1.0),
        Job("rate 2", "lora", "search", 3.0),
        Job("tune lora", "lora", "tune", 200.0),
        Job("tune full", "full", "tune", 300.0),
    ]
    planned = in_planned_seconds(jobs, plan=planned_by(PLAN_STEPS))
    assert [job.work for job in planned] == [3.0, 9.0, 50.0, 90.0]
    run = Forecast(planned, first_rate=1.0, after_seconds=6.0)
    assert run.seconds_left() == pytest.approx(12 + 50 + 90 + 6)
    run.ended("rate 1", seconds=3.0)
    run.ended("rate 2", seconds=9.0)
    run.ended("tune lora", seconds=100.0)  # twice its plan: so will the other be
    assert run.seconds_left() == pytest.approx(180 + 6)


def test_where_the_plan_does_not_know_a_job_the_work_stays_in_tokens():
    jobs = [*JOBS, Job("sample mine", "mine", "sample", 60.0)]
    assert in_planned_seconds(jobs, plan=planned_by(PLAN_STEPS)) is None
    assert in_planned_seconds(jobs, plan=None) is None
