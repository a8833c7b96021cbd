"""Tokens are chosen as from a sorted distribution, whichever way they are found, and as transformers draws them."""

import math

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from finetrial.sampling.nucleus import choose, penalised

SETTINGS = (
    {"temperature": 1.0, "top_p": 0.95},
    {"temperature": 0.7, "top_p": 1.0},
    {"temperature": 1.3, "top_p": 0.9, "min_p": 0.2},
    {"temperature": 1.0, "top_p": 0.9, "top_k": 700},
    {"temperature": 0.8, "top_p": 0.5, "top_k": 3, "min_p": 0.1},
)


def logits_of(rows, words, *, spread, seed=0):
    return spread * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spread", [0.3, 1.0, 4.0])
def test_a_shortlist_and_bins_choose_what_a_sort_of_the_vocabulary_chooses(spread):
    logits = logits_of(200, 3000, spread=spread)
    uniform = torch.rand(200, generator=torch.Generator().manual_seed(1))
    for setting in SETTINGS:
        short = choose(logits, uniform_B=uniform, **setting)
        whole = choose(logits, uniform_B=uniform, shortlist=False, **setting)
        assert (short.token_B == whole.token_B).float().mean() >= 0.985  # sums in another order move a few
        expected = torch.log_softmax(logits, dim=-1).gather(1, short.token_B[:, None])[:, 0]
        torch.testing.assert_close(short.logprob_B, expected)


def warped(logits, setting):
    """The distribution that transformers draws from."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(setting["temperature"])])
    if "top_k" in setting:
        warpers.append(TopKLogitsWarper(setting["top_k"]))
    if setting["top_p"] < 1:
        warpers.append(TopPLogitsWarper(setting["top_p"]))
    if "min_p" in setting:
        warpers.append(MinPLogitsWarper(setting["min_p"]))
    return torch.softmax(warpers(torch.zeros(1, 1, dtype=torch.long), logits), dim=-1)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("shortlist", [True, False])
def test_evenly_spread_numbers_draw_each_token_as_often_as_transformers_would(setting, shortlist):
    """By inversion n evenly spread numbers give each token n p times, but for one at either end of its share."""
    logits, n = logits_of(1, 900, spread=2.0), 4000
    expected = warped(logits, setting)[0]
    uniform = (torch.arange(n) + 0.5) / n
    drawn = choose(logits.expand(n, -1), uniform_B=uniform, shortlist=shortlist, **setting)
    counts = torch.bincount(drawn.token_B, minlength=900)
    assert (counts - n * expected).abs().max() <= 2
    assert not counts[expected == 0].any()


def test_a_repetition_penalty_is_that_of_transformers():
    logits = logits_of(1, 50, spread=2.0)
    ids = torch.tensor([[3, 9, 9, 41]])
    seen = torch.zeros(1, 50, dtype=torch.bool).scatter_(1, ids, True)
    expected = RepetitionPenaltyLogitsProcessor(1.4)(ids, logits)
    torch.testing.assert_close(penalised(logits, seen_BV=seen, penalty=1.4), expected)
    greedy = choose(
        logits, uniform_B=torch.zeros(1), temperature=0.0, top_p=1.0, penalty=1.4, seen_BV=seen, shortlist=True
    )
    assert greedy.token_B == expected.argmax()
    assert greedy.logprob_B == pytest.approx(
        math.log(torch.softmax(logits, -1)[0, greedy.token_B].item()), abs=1e-5
    )
