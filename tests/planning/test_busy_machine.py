"""Rates that were measured beside other processes are said to be so, and not kept."""

from dataclasses import replace

import pytest

from finetrial.planning.machine import CpuClock, cores, cpu_clock
from finetrial.training.step_timing import at_whole_depth


def test_others_took_what_was_busy_beyond_our_own_seconds_and_what_we_could_not_use():
    before = CpuClock(processors=int(cores()), busy_seconds=100.0, own_seconds=5.0, at=1000.0)
    # in ten seconds all processors were busy, and we for eight of those seconds on one
    after = replace(before, busy_seconds=100.0 + 10 * int(cores()), own_seconds=13.0, at=1010.0)
    assert after.taken_since(before) == pytest.approx(int(cores()) - 0.8)
    # four processors more, which we may not use, could have done that work
    assert replace(after, processors=int(cores()) + 4).taken_since(before) == 0.0


def test_the_clock_goes_on():
    first = cpu_clock()
    assert first is not None and first.processors >= 1
    sum(range(10**6))
    later = cpu_clock()
    assert later.at > first.at and later.busy_seconds >= first.busy_seconds


def test_two_depths_that_noise_made_alike_still_give_every_layer_its_share():
    # a third of the FLOPs at the greater depth are one layer's, of which half is the least: 2 s + 10 x 2 s / 6
    assert at_whole_depth([2.1, 2.0], depths=(1, 2), whole=12, least_share=0.5 / 3) == pytest.approx(2 + 10 / 3)
    # where the depths tell a layer apart it counts as it was timed
    assert at_whole_depth([1.0, 2.0], depths=(1, 2), whole=12, least_share=0.5 / 3) == pytest.approx(12)
    assert at_whole_depth([3.0], depths=(6,), whole=12) == pytest.approx(6)
