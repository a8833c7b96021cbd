"""Freed memory stays while it is wanted and goes back afterwards."""

import resource
import sys

import psutil
import pytest
import torch

from finetrial.engine.heap import kept_heap

_BYTES = 256 << 20


def _faults_of_second_use() -> int:
    torch.ones(_BYTES + (1 << 20), dtype=torch.uint8)  # larger, because glibc aligns within what it finds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(_BYTES, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_memory_is_used_again_without_faults_and_handed_back_at_the_end():
    pages = _BYTES // resource.getpagesize()
    assert _faults_of_second_use() > pages // 2
    before = psutil.Process().memory_info().rss
    with kept_heap() as kept:
        assert kept
        assert _faults_of_second_use() < pages // 20
        assert psutil.Process().memory_info().rss > before + _BYTES // 2
    assert psutil.Process().memory_info().rss < before + _BYTES // 2
    assert _faults_of_second_use() > pages // 2


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with kept_heap() as kept:
        assert not kept
