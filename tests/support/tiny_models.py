"""Tiny random-weight models of four architectures, in local folders, and examples to tune them on."""

import random

import torch
from tiny_tokenizers import byte_level
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from finetrial.trial.examples import Encoded

# No row to spare, so that a new token makes the embedding grow.
SIZE = {"vocab_size": len(byte_level()), "bos_token_id": 0, "eos_token_id": 0}
GQA = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES = {
    # dropout as gpt2's configuration has it, so that a test would see it acting
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_layer=2, n_embd=32, n_head=4, n_positions=64, **SIZE)),
    "phi": (
        PhiForCausalLM,
        PhiConfig(
            num_hidden_layers=2,
            hidden_size=32,
            intermediate_size=48,
            num_attention_heads=4,
            max_position_embeddings=64,
            **SIZE,
        ),
    ),
    "llama": (LlamaForCausalLM, LlamaConfig(**GQA, **SIZE)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**GQA, tie_word_embeddings=True, **SIZE)),
}


def save_model(family, folder, *, seed=0, tokenizer=True):
    """A model with random weights in `folder`; larger weights than usual, so that attention is no average."""
    cls, config = FAMILIES[family]
    torch.manual_seed(seed)
    model = cls(config)
    with torch.no_grad():
        for param in model.parameters():
            if param.ndim > 1:
                param.mul_(4)
    model.save_pretrained(folder)
    if tokenizer:
        byte_level().save_pretrained(folder)
    return str(folder)


def make_examples(count=24, *, seed=0, longest=40, prefix="e"):
    """Sequences that can be learned: each token follows from the one before. About half of them carry loss."""
    rng = random.Random(seed)
    examples = []
    for i in range(count):
        length = rng.randint(6, longest)
        ids = [rng.randrange(29)]
        while len(ids) < length:
            ids.append((5 * ids[-1] + 3) % 29)
        start = rng.randint(1, length - 2)
        examples.append(Encoded(f"{prefix}{i}", tuple(ids), tuple(j >= start for j in range(length))))
    return examples
