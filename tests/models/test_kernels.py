"""Every fast path computes what its plain twin does: values and gradients, in float32 and at bfloat16.

In float32 both sum the same numbers in another order: relative differences of norms stay under 1e-5. At bfloat16 a
fast path may err at most 1.5 times as much from the float32 result as its plain twin does.
"""

import weakref
from functools import partial

import pytest
import torch
from torch import nn

from finetrial.models.kernels.activations import (
    gated_gelu,
    gated_silu,
    plain_gated_gelu,
    plain_gated_silu,
    plain_tanh_gelu,
    tanh_gelu,
)
from finetrial.models.kernels.block_products import block_products, plain_block_attention
from finetrial.models.kernels.linear import adapted, bias_last, filled_up, plain_adapted
from finetrial.models.kernels.losses import card_chunk, card_hidden_gradient, card_slices, head_loss, logits_loss
from finetrial.models.kernels.recompute import overwritten, recomputable, recomputing
from finetrial.models.kernels.rms_norm import plain_rms_norm, rms_norm
from finetrial.models.kernels.rotary_attention import plain_rotary_attention, rotary_attention

RUNS = ((1, 300), (1, 131), (2, 64), (1, 63), (3, 7), (2, 1))
TOKENS = sum(count * length for count, length in RUNS)


def draw(*shape, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * scale


def attention_case(heads, group, size, window):
    angles = draw(TOKENS, size // 2) * 3
    angles = torch.cat((angles, angles), dim=-1)
    inputs = (draw(TOKENS, heads, group, size), draw(TOKENS, heads, size), draw(TOKENS, heads, size))
    more = {"runs": RUNS, "scaling": size**-0.5, "window": window}

    def fast(q, k, v):
        cos, sin = (t.to(q.dtype) for t in (angles.cos(), angles.sin()))
        return rotary_attention(q, k, v, cos_TD=cos, sin_TD=sin, **more)

    def plain(q, k, v):
        cos, sin = (t.to(q.dtype) for t in (angles.cos(), angles.sin()))
        return plain_rotary_attention(q, k, v, cos_TD=cos, sin_TD=sin, **more)

    return fast, plain, inputs


def without_rotation(heads, group, size, window):
    more = {"runs": RUNS, "scaling": size**-0.5, "window": window}

    def fast(q, k, v):
        return block_products(q.flatten(1, 2), k, v, **more).unflatten(1, (heads, group))

    def plain(q, k, v):
        return plain_block_attention(q.flatten(1, 2), k, v, **more).unflatten(1, (heads, group))

    return fast, plain, (draw(TOKENS, heads, group, size), draw(TOKENS, heads, size), draw(TOKENS, heads, size))


def norm_case(offset):
    def fast(x, weight):
        return rms_norm(x, weight, eps=1e-6, offset=offset)

    def plain(x, weight):
        return plain_rms_norm(x, weight, eps=1e-6, offset=offset)

    return fast, plain, (draw(3, 400, 96, scale=3.0), draw(96) + 1 - offset)


def lora_case(bias):
    def fast(x, w, a, b):
        return adapted(x, weight_IO=w.detach(), bias_O=bias_of(x), a_rI=a, b_Or=b, scaling=2.0)

    def plain(x, w, a, b):
        return plain_adapted(x, weight_IO=w.detach(), bias_O=bias_of(x), a_rI=a, b_Or=b, scaling=2.0)

    def bias_of(x):
        return draw(80).to(x.dtype) if bias else None

    return fast, plain, (draw(1, 70, 48), draw(48, 80, scale=0.2), draw(4, 48, scale=0.2), draw(80, 4, scale=0.3))


def head_case():
    labels = torch.arange(60) % 90

    def fast(hidden, weight):
        return head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=labels, scale=0.1)[None]

    def plain(hidden, weight):
        return logits_loss(hidden @ weight.t(), labels_M=labels, scale=0.1)[None]

    return fast, plain, (draw(60, 32), draw(90, 32))


def conv_case():
    conv = nn.Module()

    def fast(x, weight, bias):
        conv.weight, conv.bias = weight, bias
        return bias_last(conv, x)

    def plain(x, weight, bias):
        return torch.addmm(bias, x, weight)

    return fast, plain, (draw(70, 48), draw(48, 80), draw(80))


CASES = {
    "rotary attention": attention_case(2, 3, 64, None),
    "rotary attention, one head a key": attention_case(3, 1, 32, None),
    "rotary attention, wide heads": attention_case(1, 4, 256, None),
    "rotary attention, a window": attention_case(2, 2, 16, 100),
    "rotary attention, a window of one": attention_case(2, 2, 16, 1),
    "attention": without_rotation(4, 1, 64, None),
    "grouped attention, a window": without_rotation(2, 3, 32, 70),
    "RMS norm": norm_case(0.0),
    "RMS norm of Gemma": norm_case(1.0),
    "gated SiLU": (gated_silu, plain_gated_silu, (draw(70, 333, scale=2.0), draw(70, 333))),
    "gated GELU": (gated_gelu, plain_gated_gelu, (draw(70, 334, scale=2.0), draw(70, 334))),
    "GELU": (tanh_gelu, plain_tanh_gelu, (draw(70, 335, scale=2.0),)),
    "LoRA": lora_case(bias=False),
    "LoRA with a bias": lora_case(bias=True),
    "loss without logits": head_case(),
    "bias last": conv_case(),
}


def results(way, inputs, dtype):
    given = [x.to(dtype).requires_grad_() for x in inputs]
    value = way(*given)
    upstream = draw(*value.shape).to(dtype) if value.numel() > 1 else torch.ones_like(value)
    grads = torch.autograd.grad(value, given, upstream, allow_unused=True)
    return [value.detach(), *(g for g in grads if g is not None)]


def error(found, expected):
    """In norm, relative; absolute, a number's on average, where what is expected is zero but for rounding."""
    norm = expected.double().norm()
    size = norm if norm > 1e-6 * expected.numel() ** 0.5 else expected.numel() ** 0.5
    return ((found.double() - expected.double()).norm() / size).item()


@pytest.mark.parametrize("name", CASES)
def test_in_float32_values_and_gradients_are_the_plain_ones(name):
    fast, plain, inputs = CASES[name]
    found, expected = results(fast, inputs, torch.float32), results(plain, inputs, torch.float32)
    assert len(found) == len(expected) > 1
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and error(one, other) < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_at_bfloat16_it_errs_no_more_than_half_as_much_again_as_the_plain_one(name):
    fast, plain, inputs = CASES[name]
    narrow = [x.bfloat16().float() for x in inputs]  # what both are given at bfloat16
    exact = results(plain, narrow, torch.float64)
    for one, other, truth in zip(
        results(fast, narrow, torch.bfloat16), results(plain, narrow, torch.bfloat16), exact, strict=True
    ):
        assert error(one, truth) <= 1.5 * error(other, truth) + 1e-6


def test_what_a_block_holds_changes_no_other_by_a_bit():
    fast, _, inputs = CASES["rotary attention"]
    disturbed = [x.clone() for x in inputs]
    for x in disturbed:
        x[:300] = 7 * torch.randn_like(x[:300])
    assert torch.equal(fast(*inputs)[300:], fast(*disturbed)[300:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_made_again_has_the_bits_of_what_would_have_been_kept(dtype):
    torch.manual_seed(0)
    norm_weight = torch.randn(64).to(dtype).requires_grad_()
    gate, up, down = ((torch.randn(*s) / 8).to(dtype).requires_grad_() for s in ((96, 64), (96, 64), (64, 96)))
    x = torch.randn(50, 64).to(dtype).requires_grad_()
    params = (x, norm_weight, gate, up, down)

    def layer():
        normal = rms_norm(x, norm_weight, eps=1e-6)
        return gated_silu(normal @ gate.t(), normal @ up.t()) @ down.t()

    kept = torch.autograd.grad(layer().sum(), params)
    with recomputing():
        out = layer()
    again = torch.autograd.grad(out.sum(), params)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_memory_that_another_tensor_has_taken_over_is_not_taken_for_a_result():
    weight = torch.randn(64, 64, requires_grad=True)
    x = torch.randn(50, 64, requires_grad=True)
    with recomputing():
        for _ in range(4):  # the result is let go, and its memory goes to the next tensor of its size
            rms_norm(x.detach(), torch.ones(64), eps=1e-6)
        other = torch.full((50, 64), 2.0)
        out = other @ weight
    (grad,) = torch.autograd.grad(out.sum(), weight)
    assert torch.equal(grad, other.t() @ torch.ones(50, 64))


def test_what_a_result_is_made_of_is_let_go_with_it():
    # where a layer is recomputed nothing of it is kept: its gates stood in memory until the end of the pass
    with recomputing():
        x = torch.ones(50, 64)
        made_of = weakref.ref(x)
        y = recomputable(x * 2, partial(torch.mul, x, 2))
        other = recomputable(torch.ones(50, 64), torch.ones)
        del x
        assert made_of() is not None
        del y
        assert made_of() is None
        del other


def test_a_result_that_is_overwritten_is_kept_as_it_is_then():
    weight = torch.randn(64, 64, requires_grad=True)
    x = torch.randn(50, 64)
    with recomputing():
        y = rms_norm(x, torch.ones(64), eps=1e-6)
        overwritten(y)
        y.fill_(2.0)  # as a rotation in place does
        out = y @ weight
    (grad,) = torch.autograd.grad(out.sum(), weight)
    assert torch.equal(grad, torch.full((50, 64), 2.0).t() @ torch.ones(50, 64))


@pytest.mark.parametrize("rank", [1, 4, 8, 9])
def test_an_adapter_that_is_filled_up_is_the_same_map(rank):
    a, b = draw(rank, 48), draw(80, rank)
    wide_a, wide_b = filled_up(a, b)
    assert wide_a.shape[0] == wide_b.shape[1] == -(-rank // 8) * 8
    torch.testing.assert_close(wide_b @ wide_a, b @ a)


@pytest.mark.parametrize("bias", [False, True])
def test_a_cards_chunk_of_the_loss_is_that_of_a_cpu_and_its_rows_begin_aligned(bias):
    hidden, weight = draw(60, 32), draw(90, 32)
    offset = draw(90) if bias else None
    labels = (torch.arange(60) % 90)[:, None]
    loss, grad, narrow = card_chunk(hidden, weight, offset, labels_m1=labels, scale=0.1)
    logits = torch.nn.functional.linear(hidden, weight, offset).requires_grad_()
    expected = logits_loss(logits, labels_M=labels[:, 0], scale=0.1)
    expected.backward()
    assert narrow.stride(0) == 96 and narrow.shape == (60, 90)
    torch.testing.assert_close(loss * 0.1, expected.detach())
    torch.testing.assert_close(grad, logits.grad)
    torch.testing.assert_close(narrow.contiguous(), logits.grad)
    found = torch.empty_like(hidden)
    card_hidden_gradient(narrow, weight, out=found)
    torch.testing.assert_close(found, logits.grad @ weight)


def test_all_but_the_last_few_words_are_a_multiple_of_eight():
    assert card_slices(50257) == (slice(0, 50256), slice(50256, 50257))
    assert card_slices(49152) == (slice(0, 49152),)
    assert card_slices(5) == (slice(0, 5),)
