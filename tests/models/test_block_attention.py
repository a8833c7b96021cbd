"""Attention inside blocks equals a dense mask, and nothing leaks between blocks."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import FAMILIES
from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

from finetrial.models.forward import probe
from finetrial.models.kernels.block_products import block_products

RUNS = ((2, 300), (1, 129), (3, 7), (2, 1))


def dense(query, key, value, *, runs, scaling, window):
    lengths = torch.tensor([length for count, length in runs for _ in range(count)])
    block = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    place = torch.arange(len(block))
    seen = (block[:, None] == block[None]) & (place[:, None] >= place[None])
    if window is not None:
        seen &= place[:, None] - place[None] < window
    states = (x.transpose(0, 1)[None] for x in (query, key, value))
    return F.scaled_dot_product_attention(*states, attn_mask=seen, scale=scaling)[0].transpose(0, 1)


@pytest.mark.parametrize("window", [None, 50, 1])
def test_values_and_gradients_equal_a_dense_mask(window):
    torch.manual_seed(0)
    tokens = sum(n * length for n, length in RUNS)
    states = [torch.randn(tokens, 3, 8, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(tokens, 3, 8)
    found = block_products(*states, runs=RUNS, scaling=0.4, window=window)
    expected = dense(*states, runs=RUNS, scaling=0.4, window=window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(
        torch.autograd.grad(found, states, upstream), torch.autograd.grad(expected, states, upstream), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


# Heads of 64 and chunks of 128 queries: four chunks, three and one.
LONG_RUNS = ((1, 450), (3, 300), (2, 128))


@pytest.mark.parametrize("window", [None, 140])
def test_long_blocks_in_several_chunks_equal_a_dense_mask(window):
    torch.manual_seed(0)
    tokens = sum(n * length for n, length in LONG_RUNS)
    states = [torch.randn(tokens, 2, 64, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(tokens, 2, 64)
    found = block_products(*states, runs=LONG_RUNS, scaling=0.125, window=window)
    expected = dense(*states, runs=LONG_RUNS, scaling=0.125, window=window)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    mine, theirs = (torch.autograd.grad(x, states, upstream) for x in (found, expected))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_four_families_are_packed_and_fused(family):
    cls, config = FAMILIES[family]
    torch.manual_seed(0)
    found = probe(cls(config).eval())
    assert found.packed and found.fused


def test_a_sliding_window_is_kept_inside_blocks():
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=3,
    )
    model = MistralForCausalLM(config).eval()
    ids = torch.arange(1, 13)[None]
    with torch.no_grad():
        expected = model(ids).logits
        assert probe(model).packed
        found = model(ids, block_runs=((1, 12),), use_cache=False).logits
        model.config.sliding_window = None
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_model_that_caps_its_scores_and_logits_is_neither_packed_nor_fused():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    model = Gemma2ForCausalLM(config).eval()
    before = model.config._attn_implementation
    found = probe(model)
    assert not found.packed and not found.fused
    assert model.config._attn_implementation == before
