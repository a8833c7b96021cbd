"""Sampling: the nucleus is the distribution's, prefill is shared without changing answers, arms share numbers."""

import math
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from finetrial.errors import UserError
from finetrial.sampling.nucleus import choose
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.trial.resolve import Decoding

VOCABULARY = 60
END = 59
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": END,
    "eos_token_id": END,
}
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=64,
            bos_token_id=END,
            eos_token_id=END,
        )
    ),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=2)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, num_key_value_heads=2)),
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer():
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<end>": END}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")


def make_model(architecture: str):
    torch.manual_seed(3)
    model = MODELS[architecture]()
    with torch.no_grad():  # random weights give nearly flat distributions; sharpen them so that choices differ
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def prompt(name: str, ids: list[int]) -> PromptTask:
    return PromptTask(name, None, " ".join(f"w{i}" for i in ids), tuple(ids), ("w1",), "source")


PROMPTS = [prompt("long", list(range(1, 12))), prompt("short", [5, 6]), prompt("middle", [9, 8, 7, 30, 2])]


def test_the_nucleus_takes_the_smallest_set_that_reaches_top_p():
    # Probabilities .5 .3 .15 .05; top_p .7 keeps the first two, renormalised to .625 and .375.
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
    uniforms = (torch.arange(1000) + 0.5) / 1000
    choice = choose(logits.repeat(1000, 1), uniform_B=uniforms, temperature=1.0, top_p=0.7)
    counts = torch.bincount(choice.token_B, minlength=4).tolist()
    assert counts == [0, 625, 0, 375]
    assert choice.logprob_B[0].item() == pytest.approx(math.log(0.5), abs=1e-5)


def test_temperature_sharpens_and_the_logprob_stays_the_models():
    # At T = 0.5 probabilities are squared: .8 and .2 become .64/.68 and .04/.68.
    logits = torch.tensor([[0.8, 0.2]]).log()
    uniforms = (torch.arange(1700) + 0.5) / 1700
    choice = choose(logits.repeat(1700, 1), uniform_B=uniforms, temperature=0.5, top_p=1.0)
    assert torch.bincount(choice.token_B).tolist() == [1600, 100]
    assert choice.logprob_B[-1].item() == pytest.approx(math.log(0.2), abs=1e-5)


def test_a_nucleus_wider_than_the_shortlist_is_sorted_whole():
    logits = torch.zeros(1, 1000)
    low, high = (
        choose(logits, uniform_B=torch.tensor([u]), temperature=1.0, top_p=1.0).token_B.item()
        for u in (0.0, 0.9999)
    )
    assert low != high
    seen = {
        choose(logits, uniform_B=torch.tensor([u / 1000 + 5e-4]), temperature=1.0, top_p=1.0).token_B.item()
        for u in range(1000)
    }
    assert len(seen) == 1000


@pytest.mark.parametrize("architecture", list(MODELS))
def test_greedy_answers_equal_those_of_transformers_generate_one_prompt_at_a_time(architecture, tokenizer):
    model = make_model(architecture)
    decoding = Decoding(per_prompt=1, temperature=0, max_new_tokens=12)
    samples = {s.prompt_id: s for s in sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="base")}
    assert set(samples) == {"long", "short", "middle"}
    for task in PROMPTS:
        ids = torch.tensor([task.token_ids])
        expected = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=END
        )[0, ids.shape[1] :].tolist()
        assert list(samples[task.prompt_id].token_ids) == expected


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_samples_text_does_not_depend_on_its_batch(architecture, tokenizer):
    model = make_model(architecture)
    decoding = Decoding(per_prompt=3, max_new_tokens=10, seed=5, temperature=0.8)
    together = {s.id: s for s in sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="a")}
    alone = {s.id: s for s in sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="a", batch_sequences=1)}
    assert len(together) == 9
    assert {i: s.token_ids for i, s in together.items()} == {i: s.token_ids for i, s in alone.items()}
    assert len({s.token_ids for s in together.values()}) > 3, "samples of one prompt must differ"


def test_two_arms_of_the_same_weights_give_the_same_samples_and_other_seeds_give_others(tokenizer):
    model = make_model("gpt2")
    decoding = Decoding(per_prompt=2, max_new_tokens=8, temperature=0.8)
    one = list(sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="one"))
    two = list(sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="two"))
    assert [s.token_ids for s in one] == [s.token_ids for s in two]
    assert [s.seed for s in one] == [s.seed for s in two]
    other = replace(decoding, seed=1)
    assert [s.token_ids for s in sample_arm(model, tokenizer, PROMPTS, decoding=other, arm="one")] != [
        s.token_ids for s in one
    ]


def test_logprob_is_the_sum_over_the_generated_tokens(tokenizer):
    model = make_model("gpt2")
    sample = next(
        sample_arm(
            model,
            tokenizer,
            PROMPTS[:1],
            decoding=Decoding(per_prompt=1, max_new_tokens=6, temperature=0.8),
            arm="a",
        )
    )
    ids = torch.tensor([PROMPTS[0].token_ids + sample.token_ids])
    with torch.no_grad():
        logprobs = model(ids).logits.log_softmax(-1)
    start = len(PROMPTS[0].token_ids)
    expected = sum(logprobs[0, start + i - 1, t].item() for i, t in enumerate(sample.token_ids))
    assert sample.logprob == pytest.approx(expected, abs=1e-3)


def test_the_end_token_ends_a_sample_and_is_not_its_text(tokenizer):
    model = make_model("gpt2")
    with torch.no_grad():  # tied head: make the end token overwhelmingly likely
        model.lm_head.weight[END] = 50 * model.transformer.ln_f.bias.new_ones(32)
        model.transformer.ln_f.bias += 5
    decoding = Decoding(per_prompt=2, max_new_tokens=8, temperature=0.8)
    samples = list(sample_arm(model, tokenizer, PROMPTS, decoding=decoding, arm="a"))
    assert [(s.end_reason, s.text, s.tokens) for s in samples] == [("end_token", "", 1)] * 6


def test_a_stop_string_cuts_the_text_before_it(tokenizer):
    model = make_model("gpt2")
    free = Decoding(per_prompt=1, max_new_tokens=12, temperature=0.8)
    whole = next(sample_arm(model, tokenizer, PROMPTS[:1], decoding=free, arm="a"))
    assert whole.end_reason == "length" and whole.tokens == 12
    words = whole.text.split()
    stop = next(word for word in words if not words[0].startswith(word))
    first = words.index(stop)
    assert first > 0 and not any(stop in word for word in words[:first])
    cut = next(sample_arm(model, tokenizer, PROMPTS[:1], decoding=replace(free, stop=(stop,)), arm="a"))
    assert cut.end_reason == "stop_string"
    assert cut.text.split() == words[:first]


def test_a_prompt_longer_than_the_context_is_named(tokenizer):
    model = make_model("gpt2")
    with pytest.raises(UserError, match=r"prompt big .*60 prompt tokens \+ 8 new tokens.*at most 64"):
        list(
            sample_arm(
                model,
                tokenizer,
                [prompt("big", [1] * 60)],
                decoding=Decoding(per_prompt=1, max_new_tokens=8, temperature=0.8),
                arm="a",
            )
        )


def test_a_stop_that_never_comes_changes_nothing(tokenizer):
    model = make_model("gpt2")
    free = Decoding(per_prompt=2, max_new_tokens=9, temperature=0.8)
    how = {"arm": "a"}
    expected = {s.id: s for s in sample_arm(model, tokenizer, PROMPTS, decoding=free, **how)}
    found = {s.id: s for s in sample_arm(model, tokenizer, PROMPTS, decoding=replace(free, stop=("zzz",)), **how)}
    assert {i: (s.token_ids, s.text, s.end_reason) for i, s in found.items()} == {
        i: (s.token_ids, s.text.strip(), s.end_reason) for i, s in expected.items()
    }
    assert "length" in {s.end_reason for s in found.values()}


def test_a_prompt_without_tokens_is_named(tokenizer):
    with pytest.raises(UserError, match="the prompt none has no tokens"):
        list(
            sample_arm(
                make_model("gpt2"),
                tokenizer,
                [*PROMPTS, prompt("none", [])],
                decoding=Decoding(per_prompt=1, max_new_tokens=2, temperature=0.8),
                arm="a",
            )
        )
