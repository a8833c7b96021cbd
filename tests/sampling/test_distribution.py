"""What the engine draws is distributed as what transformers' generate draws: GPT-2, Phi, Llama and Qwen2.

Both draw many answers of two tokens from models of a dozen words, under all settings together and apart; Pearson's
chi-square test of two samples compares how often each pair of tokens came.
"""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from scipy.stats import chi2
from tiny_tokenizers import byte_level
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PhiConfig, Qwen2Config

from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.trial.resolve import Decoding

WORDS, DRAWN = 12, 1500
_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": WORDS,
    "max_position_embeddings": 32,
    "eos_token_id": None,
    "bos_token_id": None,
}
MODELS = {
    "gpt2": lambda: GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=WORDS, n_positions=32, eos_token_id=None),
    "phi": lambda: PhiConfig(**_SMALL),
    "llama": lambda: LlamaConfig(num_key_value_heads=2, **_SMALL),
    "qwen2": lambda: Qwen2Config(num_key_value_heads=2, **_SMALL),
}
PLAIN = Decoding(per_prompt=DRAWN, max_new_tokens=2, temperature=1.0, top_p=1.0)
SETTINGS = {
    "top-p": replace(PLAIN, top_p=0.8),
    "top-k and temperature": replace(PLAIN, temperature=0.7, top_k=5),
    "min-p": replace(PLAIN, min_p=0.25),
    "repetition penalty": replace(PLAIN, repetition_penalty=2.0),
    "all": replace(PLAIN, temperature=1.3, top_k=9, top_p=0.9, min_p=0.1, repetition_penalty=1.3),
}
PROMPT = (3, 8, 3, 5)


def model_of(name):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(MODELS[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    model.generation_config.eos_token_id = None
    return model


class Endless:
    """A tokenizer that names no end token."""

    eos_token_id = None

    def __init__(self):
        self._tokenizer = byte_level()

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


def ours(model, decoding):
    task = PromptTask("p", None, "", PROMPT, (), "")
    return Counter(s.token_ids for s in sample_arm(model, Endless(), [task], decoding=decoding, arm="a"))


def theirs(model, decoding):
    torch.manual_seed(2)
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=decoding.temperature,
            top_k=decoding.top_k or 0,
            top_p=decoding.top_p,
            min_p=decoding.min_p or None,
            repetition_penalty=decoding.repetition_penalty,
            max_new_tokens=2,
            num_return_sequences=DRAWN,
            pad_token_id=0,
        )
    return Counter(map(tuple, out[:, len(PROMPT) :].tolist()))


def p_value(one, other):
    """Of Pearson's chi-square for two samples of one size; pairs that came fewer than ten times are one cell."""
    rare, cells = [0, 0], []
    for pair in one.keys() | other.keys():
        if one[pair] + other[pair] < 10:
            rare = [rare[0] + one[pair], rare[1] + other[pair]]
        else:
            cells.append((one[pair], other[pair]))
    cells += [tuple(rare)] if sum(rare) else []
    if len(cells) == 1:
        return 1.0
    return float(chi2.sf(sum((a - b) ** 2 / (a + b) for a, b in cells), len(cells) - 1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_answers_come_as_often_as_from_generate(name, setting):
    model, decoding = model_of(name), SETTINGS[setting]
    mine, others = ours(model, decoding), theirs(model, decoding)
    assert mine.total() == others.total() == DRAWN and len(others) > 3
    # of twenty such tests one in five hundred would fail by chance; the seeds are fixed, and none does
    assert p_value(mine, others) > 1e-4


def test_another_distribution_is_told_apart():
    """A higher temperature, and a nucleus without its last word, are found by the same test."""
    model = model_of("llama")
    expected = theirs(model, PLAIN)
    assert p_value(ours(model, PLAIN), expected) > 1e-4
    assert p_value(ours(model, replace(PLAIN, temperature=1.4)), expected) < 1e-4
    assert p_value(ours(model, replace(PLAIN, top_p=0.9)), expected) < 1e-4
