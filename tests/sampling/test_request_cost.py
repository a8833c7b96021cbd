"""What a request takes is counted from its prompt and its answer, by footprint's count."""

from __future__ import annotations

import pytest

from finetrial.footprint.shapes import shape_from_config
from finetrial.sampling.request_cost import request_cost
from finetrial.store.records import Sample

# One layer, width 4, MLP 16, 10 tokens. Matrices of a layer: 4 x 12, 4 x 4, 4 x 16 and 16 x 4, that is
# 48 + 16 + 64 + 64 = 192 entries, 2 FLOPs each a token: 384. The head 4 x 10: 80. Scores: 2 products of 2 x width
# = 16 FLOPs for each pair of a query and a key.
TINY = shape_from_config(
    {"model_type": "gpt2", "n_embd": 4, "n_layer": 1, "n_head": 2, "vocab_size": 10, "n_positions": 32}, name="tiny"
)


def sample(prompt: str, index: int, *, tokens: int) -> Sample:
    return Sample(
        id=f"a/{prompt}/{index}",
        prompt_id=prompt,
        group=None,
        arm="a",
        index=index,
        prompt=prompt,
        text="x",
        token_ids=(1,) * tokens,
        references=(),
        end_reason="length",
        logprob=0.0,
        tokens=tokens,
        seconds=0.0,
        seed=0,
    )


def test_a_request_reads_its_prompt_once_and_decodes_all_but_the_last_token():
    # A prompt of 3 tokens, an answer of 2: 4 tokens pass the layer (4 x 384), the head sees 2 of them (160), and
    # pairs are 1 + 2 + 3 for the prompt and 4 for the token that is read back: 10 x 16 = 160. In all 1,856.
    found = request_cost(TINY, [sample("p", 0, tokens=2)], prompt_tokens={"p": 3})
    assert (found.prompt_tokens, found.generated_tokens, found.flops) == (3, 2, 1856)


def test_the_means_are_over_requests_each_of_which_reads_its_own_prompt():
    # Two answers to p, of 2 tokens and of 1. The second: 3 x 384 + 80 + 6 x 16 = 1,328.
    # One answer to q (1 token), of 1: 384 + 80 + 16 = 480. Mean (1,856 + 1,328 + 480) / 3.
    samples = [sample("p", 0, tokens=2), sample("p", 1, tokens=1), sample("q", 0, tokens=1)]
    found = request_cost(TINY, samples, prompt_tokens={"p": 3, "q": 1})
    assert found.flops == pytest.approx((1856 + 1328 + 480) / 3)
    assert found.prompt_tokens == pytest.approx(7 / 3) and found.generated_tokens == pytest.approx(4 / 3)


def test_an_unknown_shape_leaves_the_tokens_and_no_flops():
    found = request_cost(None, [sample("p", 0, tokens=2)], prompt_tokens={"p": 3})
    assert (found.prompt_tokens, found.generated_tokens, found.flops) == (3, 2, None)
