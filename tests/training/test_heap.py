"""Freed memory stays while it is wanted; afterwards it goes back, and small pieces are kept as before."""

import resource
import sys

import psutil
import pytest
import torch
from small_tasks import make_task
from tiny_models import save_model

from finetrial.training.arm_setup import prepare
from finetrial.training.loop import tune_with
from finetrial.training.process import kept_heap

linux = pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
LARGE, SMALL = 256 << 20, 16 << 20


def faults_of_second_use(size):
    """Pages that are asked for anew when as much is wanted as was just freed."""
    torch.ones(size + (1 << 20), dtype=torch.uint8)  # larger, because glibc aligns within what it finds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(size, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return psutil.Process().memory_info().rss


@linux
def test_memory_is_used_again_without_faults_and_handed_back_at_the_end():
    pages = LARGE // resource.getpagesize()
    before = resident()
    with kept_heap() as kept:
        assert kept
        assert faults_of_second_use(LARGE) < pages // 20
        assert resident() > before + LARGE // 2
    assert resident() < before + LARGE // 2
    assert faults_of_second_use(LARGE) > pages // 600  # at least one for each huge page, where there are such


@linux
def test_what_sampling_takes_again_and_again_costs_no_faults_afterwards():
    with kept_heap():
        pass
    faults_of_second_use(SMALL)
    assert faults_of_second_use(SMALL) < 100


@linux
def test_a_tuned_arm_leaves_nothing_behind(tmp_path):
    """What the run held, as large as a model here, is gone when the heap is handed back."""

    def make(task, *, dtype, device):
        ready = prepare(task, dtype=dtype, device=device)
        ready.optimizer.ballast = [torch.ones(LARGE // 64, dtype=torch.uint8) for _ in range(64)]
        return ready

    task = make_task(tmp_path / "arm", model=save_model("gpt2", tmp_path / "base"), epochs=0.5)
    before = resident()
    tune_with(task, make)
    assert resident() < before + LARGE // 2


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with kept_heap() as kept:
        assert not kept
