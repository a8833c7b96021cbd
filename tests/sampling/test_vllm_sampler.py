"""vLLM stands behind the seam: what it is asked, and the record that comes of what it answers.

The package is no part of the test suite; its boundary (LLM, SamplingParams and what generate gives, as of 0.32) is
played here over a tiny model by transformers. Against vLLM 0.32 itself on a CPU the greedy tokens of
SmolLM2-135M-Instruct were those of the torch engine (docs/results/sampling.md).
"""

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest
import torch
from tiny_models import save_model
from transformers import AutoModelForCausalLM

from finetrial.errors import UserError
from finetrial.models.loading import load_tokenizer
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sampler import ArmToSample
from finetrial.sampling.sampler_table import sampler_named
from finetrial.sampling.torch_sampler import TORCH_SAMPLER
from finetrial.trial.examples import Example
from finetrial.trial.form import Form
from finetrial.trial.resolve import resolve_arms, resolve_sampling
from finetrial.trial.trial_file import LoadedTrial, parse_trial

ASKED = []


@dataclass(kw_only=True)
class SamplingParams:
    n: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    seed: int
    max_tokens: int
    stop_token_ids: list
    ignore_eos: bool
    logprobs: int
    detokenize: bool


class LLM:
    """Draws as vLLM does: its own random numbers, and an end token among the tokens that come back."""

    def __init__(
        self, *, model, skip_tokenizer_init, trust_remote_code, dtype, seed, logprobs_mode, generation_config
    ):
        assert logprobs_mode == "raw_logprobs" and generation_config == "vllm" and skip_tokenizer_init
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()

    def generate(self, prompts, sampling_params, *, use_tqdm):
        ASKED.extend(sampling_params)
        return [
            SimpleNamespace(outputs=[self._one(prompt["prompt_token_ids"], params)])
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    @torch.no_grad()
    def _one(self, ids, params):
        generator, made, logprobs = torch.Generator().manual_seed(params.seed), [], []
        while len(made) < params.max_tokens:
            row = self.model(torch.tensor([[*ids, *made]])).logits[0, -1].log_softmax(-1)
            token = int(row.argmax())
            if params.temperature:
                token = int(torch.multinomial((row / params.temperature).softmax(-1), 1, generator=generator))
            made.append(token)
            logprobs.append({token: SimpleNamespace(logprob=float(row[token]), rank=1, decoded_token=None)})
            if token in params.stop_token_ids:
                break
        reason = "stop" if made[-1] in params.stop_token_ids else "length"
        return SimpleNamespace(token_ids=made, logprobs=logprobs, finish_reason=reason)


@pytest.fixture
def library(monkeypatch):
    vllm = ModuleType("vllm")
    vllm.LLM, vllm.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    ASKED.clear()


def asked(tmp_path, sampling):
    """An arm that is the model as it is, its tokenizer and three prompts."""
    folder = save_model("llama", tmp_path / "m")
    text = f"trial: t\nmodel: {folder}\ndata: {{source: r.jsonl}}\narms: {{base: {{precision: float32}}}}\n"
    trial = parse_trial(f"{text}sampling: {{engine: vllm, max_new_tokens: 9, {sampling}}}\n", origin="t")
    arms = resolve_arms(LoadedTrial(trial=trial, base=tmp_path), forms={"base": Form(template="{prompt}")})
    arm = resolve_sampling(trial, arms, train=[Example("a", "a", "b", ("c",), {})], measured=None)["base"]
    tokenizer = load_tokenizer(folder)
    texts = ("the quick brown", "a summary", "user line one")
    tasks = [PromptTask(str(i), None, t, tuple(tokenizer(t).input_ids), (), t) for i, t in enumerate(texts)]
    return ArmToSample(arm=arm, folder=None, tokenizer=tokenizer), tasks


def drawn(sampler, to_sample, tasks):
    loaded = sampler.load(to_sample)
    return {s.id: s for s in loaded.sample(tasks, on_progress=lambda tokens, finished: None)}


def test_greedy_records_are_those_of_the_torch_engine(tmp_path, library):
    to_sample, tasks = asked(tmp_path, "per_prompt: 1, temperature: 0, stop: ['e']")
    found, expected = (drawn(s, to_sample, tasks) for s in (sampler_named("vllm"), TORCH_SAMPLER))
    assert found.keys() == expected.keys() and len(found) == 3
    for name, sample in expected.items():
        one = found[name]
        assert (one.token_ids, one.text, one.end_reason) == (sample.token_ids, sample.text, sample.end_reason)
        assert (one.seed, one.tokens, one.prompt) == (sample.seed, sample.tokens, sample.prompt)
        assert one.logprob == pytest.approx(sample.logprob, abs=1e-4) and one.seconds > 0


def test_every_sample_is_asked_with_its_own_seed_and_the_arms_settings(tmp_path, library):
    sampling = (
        "per_prompt: 2, temperature: 0.8, top_p: 0.9, top_k: 20, min_p: 0.1, repetition_penalty: 1.2, stop: []"
    )
    to_sample, tasks = asked(tmp_path, sampling)
    found = drawn(sampler_named("vllm"), to_sample, tasks)
    assert sorted(p.seed for p in ASKED) == sorted(s.seed for s in found.values()) and len(ASKED) == 6
    for params in ASKED:
        asked_for = params.temperature, params.top_p, params.top_k, params.min_p, params.repetition_penalty
        assert asked_for == (0.8, 0.9, 20, 0.1, 1.2) and params.max_tokens == 9
        assert to_sample.tokenizer.eos_token_id in params.stop_token_ids
    sampler = sampler_named("vllm")
    assert not sampler.common_random_numbers and not sampler.log_likelihoods


def test_without_the_package_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    to_sample, _ = asked(tmp_path, "per_prompt: 1, temperature: 0, stop: []")
    with pytest.raises(UserError, match=r"sampling\.engine: vllm needs vLLM"):
        sampler_named("vllm").load(to_sample)
