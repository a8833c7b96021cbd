"""Whatever the batch and however late ends are noticed, the engine draws what a plain batch draws."""

from dataclasses import replace

import pytest
import torch
from tiny_tokenizers import byte_level
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PhiConfig,
    Qwen2Config,
)

from finetrial.footprint.inference_memory import shared_cache_bytes
from finetrial.footprint.shapes import shape_from_config
from finetrial.sampling.engine import Engine
from finetrial.sampling.generation import end_token_ids
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampling_way import Way
from finetrial.sampling.strip import decoder
from finetrial.trial.resolve import Decoding

_WORDS = 300
_SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": _WORDS,
    "max_position_embeddings": 128,
    "eos_token_id": 7,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
CONFIGS = {
    "gpt2": lambda: GPT2Config(n_embd=64, n_layer=3, n_head=4, vocab_size=_WORDS, n_positions=128, eos_token_id=7),
    "phi": lambda: PhiConfig(**_SMALL),
    "llama": lambda: LlamaConfig(**_GROUPED),
    "qwen2": lambda: Qwen2Config(**_GROUPED),
    "mistral with a window of 8": lambda: MistralConfig(sliding_window=8, **_GROUPED),
}
NUCLEUS = Decoding(per_prompt=3, max_new_tokens=14, temperature=1.0, top_p=0.9)
SETTINGS = {
    "nucleus": NUCLEUS,
    "greedy": replace(NUCLEUS, per_prompt=2, temperature=0.0),
    "everything": replace(NUCLEUS, temperature=0.7, top_p=0.95, top_k=20, min_p=0.05, repetition_penalty=1.3),
}


def model_of(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)  # fewer likely words, as a trained model has
    return model


def tasks():
    generator = torch.Generator().manual_seed(1)
    lengths = (5, 17, 3, 40, 40, 9, 22, 1, 30)
    ids = [tuple(torch.randint(_WORDS, (n,), generator=generator).tolist()) for n in lengths]
    return [PromptTask(str(i), None, "", one, (), "") for i, one in enumerate(ids)]


def same(found, expected):
    """All tokens, and the likelihoods but for rounding."""
    assert found.keys() == expected.keys()
    for name, sample in expected.items():
        assert found[name].token_ids == sample.token_ids
        assert found[name].end_reason == sample.end_reason
        assert found[name].logprob == pytest.approx(sample.logprob, abs=2e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_prompts_shared_by_samples_give_the_tokens_of_a_padded_batch(name):
    model, tokenizer = model_of(name), byte_level()
    for decoding in SETTINGS.values():
        how = {"decoding": decoding, "arm": "a"}
        expected = {s.id: s for s in sample_arm(model, tokenizer, tasks(), way=Way.BATCHED, **how)}
        for at_once in (100, 9, 1):
            found = sample_arm(model, tokenizer, tasks(), way=Way.SHARED, batch_sequences=at_once, **how)
            same({s.id: s for s in found}, expected)
        assert len({s.token_ids for s in expected.values()}) > 6
    assert not any(hasattr(module, "sampling_cache") for module in model.modules())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_caches_are_as_large_as_the_plan_counts_them(name):
    model, tokenizer = model_of(name), byte_level()
    engine = Engine(
        model,
        NUCLEUS,
        decoder(tokenizer, strip=None),
        frozenset(),
        "a",
        4,
        lambda tokens, finished: None,
        keeps=True,
    )
    assert len(list(engine.run(tasks()))) == 27
    planned = shared_cache_bytes(
        shape_from_config(model.config.to_dict()),
        slots=4,
        samples=3,
        prompt_places=40,  # of the longest prompt
        own_places=14,
        dtype_bytes=4,
    )
    assert engine.rows.store.n_bytes == planned
    engine.close()


@pytest.mark.parametrize("late", [1, 3, 50])
def test_ends_that_are_noticed_late_cut_what_was_written_behind_them(late):
    model, tokenizer = model_of("llama"), byte_level()
    decoding = NUCLEUS
    ends = frozenset(range(0, _WORDS, 9)) | end_token_ids(model, tokenizer)
    expected = {
        s.id: s
        for s in sample_arm(model, tokenizer, tasks(), decoding=decoding, arm="a", ends=ends, way=Way.BATCHED)
    }
    assert {s.end_reason for s in expected.values()} == {"end_token", "length"}
    engine = Engine(
        model,
        decoding,
        decoder(tokenizer, strip=None),
        ends,
        "a",
        2,
        lambda tokens, finished: None,
        late_steps=late,
    )
    same({s.id: s for s in engine.run(tasks())}, expected)


def test_a_sample_does_not_wait_for_those_beside_it():
    """Prompts whose samples end at once leave; a long one goes on beside all that enter after it."""
    model, tokenizer = model_of("gpt2"), byte_level()
    first = tasks()[3:4]
    ends = frozenset(range(_WORDS)) - {5}
    order = [s.prompt_id for s in sample_arm(model, tokenizer, first, decoding=NUCLEUS, arm="a", ends=ends)]
    assert order == ["3"] * 3  # everything but one word is an end: one token each


@pytest.mark.parametrize("name", [name for name in CONFIGS if "window" not in name])
def test_greedy_tokens_are_those_of_transformers_generate(name):
    model = model_of(name)
    shown = tasks()
    found = {
        s.prompt_id: s.token_ids
        for s in sample_arm(model, byte_level(), shown, decoding=replace(SETTINGS["greedy"], per_prompt=1), arm="a")
    }
    assert len(found) == len(shown) == 9
    for task in shown:
        ids = torch.tensor([task.token_ids])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=14,
                pad_token_id=0,
            )
        expected = tuple(out[0, ids.shape[1] :].tolist())
        made = found[task.prompt_id]
        assert made == expected[: len(made)]
        assert len(made) == len(expected) or made[-1] == byte_level().eos_token_id
