"""The models that are tuned on a card, at random weights made there, and what their products can reach."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PretrainedConfig, PreTrainedModel

from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.flops import step_flops
from finetrial.footprint.shapes import shape_from_config
from finetrial.trial.examples import Encoded

ShapeName = Literal["1b", "8b", "gpt2", "135m", "tiny"]
Method = Literal["lora", "full", "qlora"]

LORA_RANK, LORA_TARGETS = 4, ("q", "v")
SEED = 0
GPT2_VOCABULARY = 50257
_RATE_ROWS, _RATE_SECONDS = 16384, 0.7

TITLES: dict[str, str] = {
    "1b": "Llama-3.2-1B's shape, GPT-2's vocabulary",
    "8b": "Llama-3.1-8B's shape, GPT-2's vocabulary",
    "gpt2": "GPT-2 124M",
    "135m": "SmolLM2-135M's shape",
    "tiny": "a tiny Llama",
}
METHODS: dict[str, str] = {
    "lora": "LoRA, rank 4 on q and v",
    "full": "full tuning, float32 masters",
    "qlora": "QLoRA: LoRA on a base in NF4",
}


def config_of(name: ShapeName) -> PretrainedConfig:
    """The shape's configuration; nothing drops out, so that trainers compute the same."""
    if name == "gpt2":
        return GPT2Config(attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    sizes = {  # width, layers, heads, key heads, inner width, vocabulary
        "1b": (2048, 16, 32, 8, 8192, GPT2_VOCABULARY),
        "8b": (4096, 32, 32, 8, 14336, GPT2_VOCABULARY),
        "135m": (576, 30, 9, 3, 1536, 49152),
        "tiny": (64, 2, 4, 2, 128, 512),
    }
    width, layers, heads, key_heads, inner, vocabulary = sizes[name]
    return LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_position_embeddings=8192,
        tie_word_embeddings=name in ("1b", "135m", "tiny"),
        bos_token_id=0,
        eos_token_id=0,
    )


def make_model(name: ShapeName, *, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    """The shape at random weights, made on the device."""
    torch.manual_seed(SEED)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config_of(name), dtype=dtype).eval()


def useful_flops(name: ShapeName, method: Method, examples: tuple[Encoded, ...]) -> int:
    """What the mathematics of these examples needs, forward and backward, as footprint counts it."""
    return step_flops(
        shape_from_config(config_of(name).to_dict()),
        method=Full() if method == "full" else Lora(rank=LORA_RANK, targets=LORA_TARGETS),
        lengths=[len(example.token_ids) for example in examples],
        loss_tokens=sum(example.trained_tokens for example in examples),
    ).total


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the card reaches: bfloat16 products of the model's sizes, and copies of memory."""

    flops_per_second: float
    bytes_per_second: float


def measure_ceilings(name: ShapeName, *, device: torch.device) -> Ceilings:
    """A layer's products on 16,384 tokens, again and again, the best pass; a copy of a gibibyte."""
    config = config_of(name)
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None)
    if inner is None:
        sizes = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    else:
        keys = width * config.num_key_value_heads // config.num_attention_heads
        sizes = [(width, width), (width, keys), (width, keys), (width, width)]
        sizes += [(width, inner), (width, inner), (inner, width)]
    rows = _RATE_ROWS if device.type == "cuda" else 256
    pairs = [
        (torch.randn(rows, i, device=device).bfloat16(), torch.randn(i, o, device=device).bfloat16())
        for i, o in sizes
    ]
    flops = sum(2 * rows * i * o for i, o in sizes)

    def multiply() -> None:
        for left, right in pairs:
            left @ right

    source = torch.empty((1 << 30) if device.type == "cuda" else (1 << 22), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    rate = flops / _best_seconds(multiply, device=device)
    speed = 2 * source.numel() / _best_seconds(lambda: target.copy_(source), device=device)
    return Ceilings(rate, speed)


def _best_seconds(work: object, *, device: torch.device, repeats: int = 5) -> float:
    assert callable(work)
    best, until = float("inf"), time.monotonic() + _RATE_SECONDS
    work()
    while time.monotonic() < until:
        wait(device)
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        wait(device)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
