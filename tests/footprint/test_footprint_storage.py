"""Bytes of copies, and the rank that a budget holds: the GPT-3 figures of REFERENCES, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetrial.errors import AnswerIsNo, UserError
from finetrial.footprint.adapters import lora_parameters, matrix_parameters
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.shapes import named_shape
from finetrial.footprint.stored_bytes import bytes_per_param, largest_rank, storage

GIB, TIB, MIB = 2**30, 2**40, 2**20


class TestGpt3:
    shape = named_shape("gpt3-175b")

    def test_one_full_copy_as_published_and_as_counted(self):
        published = storage(175e9, dtype="bf16")
        assert published.bytes_per_copy == 350_000_000_000
        assert round(published.bytes_per_copy / GIB, 2) == 325.96
        counted = storage(count_parameters(self.shape).total, dtype="bf16")
        assert round(counted.bytes_per_copy / GIB, 2) == 325.23

    def test_a_hundred_full_copies(self):
        total = storage(175e9, dtype="bf16", copies=100).bytes_total
        assert (total, round(total / TIB, 2)) == (35_000_000_000_000, 31.83)

    def test_only_the_query_and_value_matrices(self):
        stored = storage(matrix_parameters(self.shape, targets=["q", "v"]), dtype="bf16", copies=100)
        assert round(stored.bytes_per_copy / 1e10, 2) == 5.80
        assert stored.bytes_per_copy == 54 * GIB
        assert round(stored.bytes_total / TIB, 2) == 5.27

    def test_lora_of_rank_4_on_query_and_value(self):
        params = lora_parameters(self.shape, rank=4, targets=["q", "v"]).total
        stored = storage(params, dtype="bf16", copies=100)
        assert stored.bytes_per_copy == 37_748_736 == 36 * MIB
        assert round(stored.bytes_total / GIB, 3) == 3.516

    def test_query_alone_for_the_same_bytes_has_rank_8(self):
        answer = largest_rank(self.shape, targets=["q"], budget_bytes=36 * MIB, dtype="bf16")
        assert (answer.rank, answer.bytes_per_copy, answer.capped) == (8, 37_748_736, False)


@given(budget=st.integers(10_000, 10**9), targets=st.sampled_from([("q",), ("q", "v"), ("o", "up", "down")]))
def test_the_largest_rank_fits_and_the_next_does_not(budget, targets):
    shape = named_shape("gpt2")
    try:
        answer = largest_rank(shape, targets=targets, budget_bytes=budget)
    except AnswerIsNo:
        assert lora_parameters(shape, rank=1, targets=targets).total * 2 > budget
        return
    assert lora_parameters(shape, rank=answer.rank, targets=targets).total * 2 == answer.bytes_per_copy <= budget
    following = lora_parameters(shape, rank=answer.rank + 1, targets=targets).total * 2
    assert following > budget or (answer.capped and answer.rank == 768)


def test_a_rank_stops_at_the_smaller_side_of_the_matrix():
    answer = largest_rank(named_shape("gpt2"), targets=["up"], budget_bytes=GIB)
    assert (answer.rank, answer.capped) == (768, True)  # 768 -> 3072
    assert answer.bytes_per_copy > answer.matrix_bytes == 12 * 768 * 3072 * 2


def test_no_rank_fits_a_budget_below_rank_one():
    with pytest.raises(AnswerIsNo, match="rank 1 on q of gpt3-175b takes 4718592 bytes"):
        largest_rank(named_shape("gpt3-175b"), targets=["q"], budget_bytes=4_718_591)
    assert largest_rank(named_shape("gpt3-175b"), targets=["q"], budget_bytes=4_718_592).rank == 1


def test_dtypes_have_the_bytes_that_torch_gives_them():
    torch = pytest.importorskip("torch")
    names = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int8": "int8", "float8_e4m3fn": "fp8"}
    sizes = {short: torch.empty(0, dtype=getattr(torch, name)).element_size() for name, short in names.items()}
    assert {short: bytes_per_param(short) for short in sizes} == sizes
    with pytest.raises(UserError, match=r"unknown dtype 'bf61'.*Did you mean 'bf16'"):
        storage(1e9, dtype="bf61")
    with pytest.raises(UserError, match="copies"):
        storage(1e9, copies=0)
