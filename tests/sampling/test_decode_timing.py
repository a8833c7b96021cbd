"""A decoding step takes time, and less than reading the prompts and taking several steps does."""

import torch
from tiny_tokenizers import byte_level
from transformers import GPT2Config, GPT2LMHeadModel

from finetrial.sampling.decode_timing import by_difference, measure_sampling, prompt_seconds
from finetrial.sampling.prompt_task import PromptTask
from finetrial.trial.resolve import Decoding


def test_both_ways_of_timing_find_a_step_and_the_prompts():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=4, n_head=4, vocab_size=300, n_positions=128)).eval()
    tokenizer = byte_level()
    heard = measure_sampling(model, tokenizer, prompt_tokens=20, prompts=3, per_prompt=2, greedy=False)
    assert heard.step_seconds > 0
    assert heard.prompt_seconds > 0
    tasks = [PromptTask(str(i), None, "", tuple(range(1, 21)), (), "") for i in range(3)]
    decoding = Decoding(per_prompt=2, max_new_tokens=6, temperature=0.005)
    found = by_difference(model, tokenizer, tasks, decoding=decoding, lengths=(5, 95))
    assert 0 < found.step_seconds < 0.5
    assert found.prompt_seconds > 0


def test_prompts_never_take_no_time_however_busy_the_machine_is():
    assert prompt_seconds(first=3.0, step=1.0) == 2.0
    assert prompt_seconds(first=3.0, step=3.5) == 3.0  # a rate is made of it: what took nothing would be endless
