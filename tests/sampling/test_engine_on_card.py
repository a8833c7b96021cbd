"""On a card the engine draws what a CPU draws but for near-ties; at bfloat16 likelihoods are the model's own."""

import copy
from dataclasses import replace

import pytest
import torch
from test_engine import CONFIGS, NUCLEUS, model_of, tasks
from test_near_ties import first_difference
from tiny_tokenizers import byte_level

from finetrial.models.own_forward import own_logits
from finetrial.sampling.sample import sample_arm

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_card_draws_at_float32_what_a_cpu_draws_but_for_near_ties(name):
    model, tokenizer = model_of(name), byte_level()
    expected = {s.id: s for s in sample_arm(model, tokenizer, tasks(), decoding=NUCLEUS, arm="a")}
    on_card = copy.deepcopy(model).cuda()
    for at_once in (100, 3):
        found = {
            s.id: s
            for s in sample_arm(on_card, tokenizer, tasks(), decoding=NUCLEUS, arm="a", batch_sequences=at_once)
        }
        assert found.keys() == expected.keys()
        for sample_id, sample in expected.items():
            place = first_difference(found[sample_id].token_ids, sample.token_ids)
            assert place is None or place in (*sample.near_ties, *found[sample_id].near_ties)


@pytest.mark.parametrize("name", CONFIGS)
def test_likelihoods_at_bfloat16_are_those_of_whole_forward_passes(name):
    model, tokenizer = model_of(name).bfloat16().cuda(), byte_level()
    shown = {task.prompt_id: task.token_ids for task in tasks()}
    decoding = replace(NUCLEUS, top_p=1.0)
    samples = list(sample_arm(model, tokenizer, tasks(), decoding=decoding, arm="a"))
    assert len(samples) == 27
    for sample in samples:
        prompt = shown[sample.prompt_id]
        with torch.no_grad():
            logits = own_logits(model, (*prompt, *sample.token_ids))[len(prompt) - 1 : -1].float()
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(sample.token_ids, device="cuda")[:, None])
        assert sample.logprob == pytest.approx(float(chosen.sum()), abs=0.05 * len(sample.token_ids))
