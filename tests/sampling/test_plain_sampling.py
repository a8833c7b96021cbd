"""A model that cannot be batched is sampled one sequence at a time, to the same tokens, and it is said why."""

from dataclasses import replace

import pytest
import torch
from tiny_models import save_model
from tiny_tokenizers import byte_level
from transformers import MambaConfig, MambaForCausalLM

from finetrial.models.loading import load_model, load_tokenizer
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.way_probe import choose_way
from finetrial.trial.resolve import Decoding

PROMPTS = [PromptTask(str(n), None, "", tuple((7 * i + n) % 29 for i in range(n)), (), "") for n in (3, 9, 5)]
DECODING = Decoding(per_prompt=2, max_new_tokens=6, temperature=0.8, top_p=0.9)


def sampled(model, tokenizer, *, way, decoding=DECODING):
    found = sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="a", way=way)
    return {s.id: s for s in found}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    folder = save_model("gpt2", tmp_path_factory.mktemp("gpt2"))
    return load_model(folder), load_tokenizer(folder)


@pytest.mark.parametrize("way", [Way.ALONE, Way.UNCACHED])
def test_one_at_a_time_draws_what_a_batch_draws(gpt2, way):
    batched, alone = sampled(*gpt2, way=Way.BATCHED), sampled(*gpt2, way=way)
    assert len(batched) == 6 and batched.keys() == alone.keys()
    for name, sample in batched.items():
        assert alone[name].token_ids == sample.token_ids and alone[name].end_reason == sample.end_reason
        assert alone[name].logprob == pytest.approx(sample.logprob, abs=1e-4)
    assert len({s.token_ids for s in batched.values()}) > 3


def test_a_stop_and_an_end_token_end_a_sequence_that_is_sampled_alone(gpt2):
    model, tokenizer = gpt2
    greedy = replace(DECODING, temperature=0.0, per_prompt=1, max_new_tokens=8)
    whole = next(iter(sampled(model, tokenizer, way=Way.ALONE, decoding=greedy).values()))
    ends = frozenset({whole.token_ids[3]})
    cut = next(iter(sample_arm(model, tokenizer, PROMPTS[:1], decoding=greedy, arm="a", ends=ends, way=Way.ALONE)))
    assert cut.end_reason == "end_token" and cut.token_ids == whole.token_ids[: len(cut.token_ids)]
    assert len(cut.token_ids) <= 4


def test_the_models_own_generation_settings_change_nothing(gpt2):
    model, tokenizer = gpt2
    expected = sampled(model, tokenizer, way=Way.ALONE)
    settings = model.generation_config
    settings.repetition_penalty, settings.min_new_tokens, settings.top_k = 5.0, 3, 2
    try:
        found = sampled(model, tokenizer, way=Way.ALONE)
    finally:
        settings.repetition_penalty = settings.min_new_tokens = settings.top_k = None
    assert {k: s.token_ids for k, s in found.items()} == {k: s.token_ids for k, s in expected.items()}
    assert model.generation_config is settings


def test_an_attention_model_is_batched_and_one_with_a_running_state_is_not():
    torch.manual_seed(0)
    tokenizer = byte_level()
    mamba = MambaForCausalLM(
        MambaConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8)
    ).eval()
    way = choose_way(mamba, tokenizer)
    assert way.way is Way.ALONE and "padded batch" in way.reason
    greedy = replace(DECODING, temperature=0.0, per_prompt=1)
    for sample in sampled(mamba, tokenizer, way=way.way, decoding=greedy).values():
        prompt = next(p for p in PROMPTS if p.prompt_id == sample.prompt_id).token_ids
        ids = list(prompt)
        with torch.no_grad():
            for token in sample.token_ids:
                assert int(mamba(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()) == token
                ids.append(token)


def test_a_cache_that_is_wrong_is_not_used(gpt2, monkeypatch):
    """The model's forward pass takes a token's position from a cache that forgets one: only the whole is right."""
    model, tokenizer = gpt2
    assert choose_way(model, tokenizer).way is Way.SHARED
    own = type(model).forward

    def off_by_one(self, input_ids=None, position_ids=None, use_cache=None, **rest):
        if position_ids is not None and input_ids.shape[1] == 1:
            position_ids = position_ids + 1
        elif input_ids.shape[1] == 1:
            position_ids = torch.full_like(input_ids, 20)
        return own(self, input_ids=input_ids, position_ids=position_ids, use_cache=use_cache, **rest)

    monkeypatch.setattr(type(model), "forward", off_by_one)
    way = choose_way(model, tokenizer)
    assert way.way is Way.UNCACHED
    assert "padded batch" in way.reason and "own cache" in way.reason
