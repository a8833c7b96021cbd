"""torch's compiled kernels of a CPU are bounded: rows of ever new shapes do not fill the memory."""

import os
import re
import subprocess
import sys

import pytest

from finetrial.models import KERNELS_KEPT
from finetrial.planning.machine import has_narrow_products

# products of 900 shapes; prints what the heap has in use after 450 and after all of them
_PRODUCTS = """
import ctypes
import finetrial.models
import torch

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena a b c d e f used free keep".split()]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Heap
right = torch.randn(96, 160).bfloat16()
for rows in range(1, 901):
    torch.randn(rows, 96).bfloat16() @ right
    if rows in (450, 900):
        print("used", library.mallinfo2().used)
"""


def used_bytes(**environment: str) -> tuple[int, int]:
    clean = {k: v for k, v in os.environ.items() if not k.endswith("CACHE_CAPACITY")}
    run = subprocess.run(
        [sys.executable, "-c", _PRODUCTS], capture_output=True, text=True, check=True, env={**clean, **environment}
    )
    half, whole = (int(n) for n in re.findall(r"used (\d+)", run.stdout))
    return half, whole


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own count of its heap")
def test_products_of_ever_new_shapes_take_no_more_memory():
    half, whole = used_bytes()
    assert whole - half < 4 << 20
    if has_narrow_products():  # else torch keeps nothing and there is nothing to bound
        half, whole = used_bytes(LRU_CACHE_CAPACITY="1024", ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024")
        assert whole - half > 16 << 20, "the bound bounds nothing any more: is it still needed?"


def test_a_capacity_of_the_user_stays():
    run = subprocess.run(
        [sys.executable, "-c", "import finetrial.models, os; print(os.environ['LRU_CACHE_CAPACITY'])"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LRU_CACHE_CAPACITY": "7"},
    )
    assert run.stdout.strip() == "7"
    assert KERNELS_KEPT >= 64  # a step's own shapes, forward and backward
