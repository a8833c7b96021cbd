"""What a card's attention of packed rows is given (layouts, padding, masks, arguments), and what each card gets."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from finetrial.errors import UserError
from finetrial.models.batches import MicroBatch
from finetrial.models.kernels.accelerator import (
    DeviceCapabilities,
    attention_order,
    automatic_precision,
    check_card,
    why_no_triton,
    why_no_varlen,
)
from finetrial.models.kernels.document_attention import document_attention, document_mask
from finetrial.models.kernels.padded_attention import padded_attention
from finetrial.models.kernels.rows_layout import (
    layout_of,
    lengths_of,
    padded_length,
    padded_row,
    size_classes,
    starts_of,
)
from finetrial.models.kernels.varlen_attention import varlen_arguments, varlen_attention

CPU = torch.device("cpu")
RUNS = ((1, 300), (2, 129), (3, 33), (2, 1), (1, 16))  # the last one is a padded row's filling


def dense(query, key, value, *, runs, scaling, window):
    lengths = torch.tensor(lengths_of(runs))
    block = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    place = torch.arange(len(block))
    seen = (block[:, None] == block[None]) & (place[:, None] >= place[None])
    if window is not None:
        seen &= place[:, None] - place[None] < window
    times = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(times, dim=1) for x in (key, value))
    states = (x.transpose(0, 1)[None] for x in (query, key, value))
    return F.scaled_dot_product_attention(*states, attn_mask=seen, scale=scaling)[0].transpose(0, 1)


def states_of(runs, *, heads=4, key_heads=2, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths_of(runs))
    return [torch.randn(tokens, n, size, generator=generator) for n in (heads, key_heads, key_heads, heads)]


@pytest.mark.parametrize("window", [None, 140, 1])
def test_padded_batches_equal_a_dense_mask_in_values_and_gradients(window):
    *states, upstream = states_of(RUNS)
    states = [s.requires_grad_() for s in states]
    layout = layout_of(RUNS, kernel=None, device=CPU)
    found = padded_attention(*states, layout=layout, scaling=0.3, window=window)
    expected = dense(*states, runs=RUNS, scaling=0.3, window=window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    mine, theirs = (torch.autograd.grad(x, states, upstream) for x in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_row_of_many_lengths_takes_a_few_calls_of_attention():
    rng = np.random.default_rng(0)
    lengths = sorted((int(n) for n in rng.integers(100, 480, size=60)), reverse=True)
    runs = tuple((lengths.count(n), n) for n in dict.fromkeys(lengths))
    assert len(runs) > 40, "the test is empty unless the lengths differ"
    query, key, value, _ = states_of(runs, size=8)
    layout = layout_of(runs, kernel=None, device=CPU)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        padded_attention(query, key, value, layout=layout, scaling=1.0, window=None)
    calls = sum(e.count for e in profile.key_averages() if e.key == "aten::scaled_dot_product_attention")
    assert 1 <= calls <= 6
    assert calls == len(size_classes(runs, device=CPU))


@pytest.mark.parametrize("window", [None, 200, 128, 5])
def test_the_document_mask_lets_every_token_see_its_own_example_up_to_itself(window):
    runs = ((1, 300), (1, 256), (2, 128), (3, 33), (2, 1))
    query, key, value, _ = states_of(runs)
    layout = layout_of(runs, kernel=None, device=CPU)
    with torch.no_grad():
        found = document_attention(query, key, value, layout=layout, scaling=0.3, window=window)
    torch.testing.assert_close(
        found, dense(query, key, value, runs=runs, scaling=0.3, window=window), atol=1e-5, rtol=1e-5
    )


def test_tiles_that_hold_no_visible_token_are_left_out_of_the_document_mask():
    layout = layout_of(((8, 128),), kernel=None, device=CPU)
    tiles = document_mask(layout, window=None, device=CPU).to_dense()[0, 0]
    assert torch.equal(tiles.bool(), torch.eye(8, dtype=torch.bool))
    long = layout_of(((1, 1024),), kernel=None, device=CPU)
    assert document_mask(long, window=None, device=CPU).to_dense()[0, 0].sum() == 8 * 9 / 2


def test_a_mask_is_made_once_for_all_layers_of_a_row():
    layout = layout_of(RUNS, kernel=None, device=CPU)
    assert document_mask(layout, window=None, device=CPU) is document_mask(layout, window=None, device=CPU)
    assert document_mask(layout, window=7, device=CPU) is not document_mask(layout, window=None, device=CPU)


def test_starts_are_whole_numbers_of_32_bits_from_0_to_the_rows_end():
    assert starts_of(((2, 5), (1, 3))).tolist() == [0, 5, 10, 13]
    layout = layout_of(((2, 5), (1, 3)), kernel=None, device=CPU)
    assert layout.starts_N1.dtype == torch.int32
    assert layout.longest == 8


def test_rows_have_few_lengths_and_at_most_a_32nd_of_filling():
    lengths = {padded_row(n) for n in range(8192, 16385)}
    assert len(lengths) <= 33
    for n in range(1, 20000):
        assert 0 <= padded_row(n) - n < max(16, n / 32 + 1)
    assert [padded_length(n) for n in (1, 16, 17, 24, 25, 200, 257)] == [16, 16, 24, 24, 32, 256, 384]


def test_the_filling_of_a_row_is_an_example_of_its_own_without_loss():
    batch = MicroBatch(
        torch.tensor([4, 5, 6]), torch.tensor([0, 1, 0]), ((1, 2), (1, 1)), torch.tensor([1]), torch.tensor([9])
    )
    filled = batch.padded(7)
    assert filled.input_ids_T.tolist() == [4, 5, 6, 0, 0, 0, 0]
    assert filled.position_ids_T.tolist() == [0, 1, 0, 0, 1, 2, 3]
    assert filled.runs == ((1, 2), (1, 1), (1, 4))
    assert filled.labels_M is batch.labels_M and filled.loss_positions_M is batch.loss_positions_M
    assert batch.padded(3) is batch


# -- torch's varlen_attn, whose arguments differ from release to release


def release_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    assert is_causal
    return call(query, key, value, cu_seq_q, scaling=query.shape[2] ** -0.5, window=None)


def release_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
):
    left, right = window_size
    assert right == 0
    return call(query, key, value, cu_seq_q, scaling=scale, window=None if left == -1 else left + 1)


def release_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):
    assert enable_gqa == (query.shape[1] != key.shape[1])
    return release_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size)


def call(query, key, value, starts, *, scaling, window):
    runs = tuple((1, int(n)) for n in starts.diff())
    return dense(query, key, value, runs=runs, scaling=scaling, window=window)


@pytest.mark.parametrize("release", [release_2_10, release_2_11, release_2_13])
@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("window", [None, 20])
def test_every_release_of_varlen_attn_is_asked_for_the_same_attention(release, repeats, window):
    query, key, value, _ = states_of(RUNS)
    layout = layout_of(RUNS, kernel=None, device=CPU)
    asked = {"layout": layout, "scaling": 0.3, "window": window, "repeats": repeats, "call": release}
    if release is release_2_10 and window is not None:
        with pytest.raises(NotImplementedError, match="sliding window"):
            varlen_attention(query, key, value, **asked)
        return
    found = varlen_attention(query, key, value, **asked)
    expected = dense(query, key, value, runs=RUNS, scaling=0.3, window=window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_function_that_can_not_be_causal_is_not_used():
    assert varlen_arguments(frozenset({"scale"}), window=None, scaling=1.0, head_size=64, grouped=False) is None


# -- what is chosen for which card

H100 = DeviceCapabilities("cuda", "H100", (9, 0), False, 80 << 30, True, True, ((7, 5), (8, 0), (9, 0)))
RTX_3070 = replace(H100, name="RTX 3070", capability=(8, 6), memory_bytes=8 << 30)
T4 = replace(H100, name="T4", capability=(7, 5), memory_bytes=16 << 30)
GTX_1080 = replace(H100, name="GTX 1080", capability=(6, 1), memory_bytes=8 << 30)
MI300 = replace(H100, name="MI300X", capability=None, rocm=True, built_for=())
MPS = DeviceCapabilities("mps", has_varlen=True)


def first_tried(facts, *, dtype=torch.bfloat16, head_sizes=(64,)):
    return next(name for name, why in attention_order(facts, dtype=dtype, head_sizes=head_sizes) if why is None)


@pytest.mark.parametrize(
    ("facts", "dtype", "expected"),
    [
        (H100, torch.bfloat16, "varlen"),
        (H100, torch.float32, "document"),
        (RTX_3070, torch.float16, "varlen"),
        (replace(H100, has_varlen=False), torch.bfloat16, "document"),
        (replace(H100, has_varlen=False, has_triton=False), torch.bfloat16, "padded"),
        (T4, torch.float16, "document"),
        (GTX_1080, torch.float16, "padded"),
        (MI300, torch.bfloat16, "document"),
        (MPS, torch.float16, "padded"),
    ],
)
def test_each_card_gets_the_best_attention_that_it_can_try(facts, dtype, expected):
    assert first_tried(facts, dtype=dtype) == expected


def test_heads_that_flash_attention_does_not_take_are_not_given_to_it():
    assert first_tried(H100, head_sizes=(64, 260)) == "document"
    assert first_tried(H100, head_sizes=(20,)) == "document"
    assert "multiples of 8" in (why_no_varlen(H100, dtype=torch.bfloat16, head_size=20) or "")


def test_every_way_that_is_left_out_says_why():
    for facts in (H100, T4, GTX_1080, MI300, MPS):
        order = attention_order(facts, dtype=torch.float32, head_sizes=(64,))
        assert [name for name, _ in order][-1] == "padded" and order[-1][1] is None
        assert all(why is None or len(why) > 10 for _, why in order)
    assert why_no_triton(MPS) == "nothing is compiled for mps"


def test_cards_without_bfloat16_take_float16_and_others_are_measured():
    assert automatic_precision(T4) == torch.float16
    assert automatic_precision(H100) is None
    assert automatic_precision(MI300) is None


def test_a_card_that_torch_has_no_kernels_for_is_refused_by_name():
    with pytest.raises(UserError, match="no kernels for GTX 1080"):
        check_card(GTX_1080)
    for facts in (H100, RTX_3070, T4, MI300, MPS):
        check_card(facts)
