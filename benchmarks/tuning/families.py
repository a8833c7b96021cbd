"""Which models are tuned: their shapes, their weights, their tokenizers?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3TextConfig,
    GPT2Config,
    PhiConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

ModelName = Literal["tiny", "gpt2", "phi", "real", "gemma", "qwen"]

NAMES: dict[ModelName, str] = {
    "tiny": "a tiny GPT-2",
    "gpt2": "GPT-2 124M",
    "phi": "Phi 1.3B",
    "real": "SmolLM2-135M-Instruct, trained weights",
    "gemma": "Gemma 3 270M's shape",
    "qwen": "Qwen2-0.5B's shape, 12 layers",
}
SEED = 0


def _shape(name: ModelName) -> Any:
    """Dropout off everywhere, so that all trainers compute the same."""
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0}
    if name == "tiny":
        return GPT2Config(n_layer=2, n_embd=64, n_head=4, attn_pdrop=0.0, **off)
    if name == "gpt2":
        return GPT2Config(attn_pdrop=0.0, **off)  # 124M, Radford et al. 2019
    if name == "gemma":  # google/gemma-3-270m's config.json
        return Gemma3TextConfig(
            hidden_size=640,
            num_hidden_layers=18,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=256,
            intermediate_size=2048,
            vocab_size=262144,
            sliding_window=512,
            query_pre_attn_scalar=256,
            tie_word_embeddings=True,
        )
    if name == "qwen":  # Qwen/Qwen2-0.5B's config.json, 12 of its 24 layers
        return Qwen2Config(
            hidden_size=896,
            num_hidden_layers=12,
            num_attention_heads=14,
            num_key_value_heads=2,
            intermediate_size=4864,
            vocab_size=151936,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
        )
    # Phi-1.5's shape (Li et al. 2023): 24 layers of width 2048, 32 heads
    return PhiConfig(hidden_size=2048, num_hidden_layers=24, num_attention_heads=32, intermediate_size=8192, **off)


def real_folder() -> Path:
    """The real model in Hugging Face's layout, made of the file that tools/real_model.py keeps."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
    from real_model import present

    from finetrial.models.gguf_base import as_folder

    path = present()
    if path is None:
        sys.exit("error: the real model is not here; `python tools/real_model.py` brings it")
    return Path(as_folder(str(path)))


def tokenizer_of(name: ModelName, *, data: Path) -> PreTrainedTokenizerBase:
    """The real model's own; GPT-2's for random weights, whatever the shape's vocabulary."""
    return AutoTokenizer.from_pretrained(real_folder() if name == "real" else data / "gpt2-tokenizer")


def make_base(name: ModelName, folder: Path, *, data: Path) -> None:
    """Write the model at bfloat16 and its tokenizer, from which every measurement starts."""
    torch.manual_seed(SEED)
    if name == "real":
        model = AutoModelForCausalLM.from_pretrained(real_folder(), dtype=torch.bfloat16)
    else:
        model = AutoModelForCausalLM.from_config(_shape(name)).bfloat16()
    model.save_pretrained(folder)
    tokenizer_of(name, data=data).save_pretrained(folder)


def layer_products(base: Path) -> tuple[tuple[int, int], ...]:
    """The matrices of one layer of the model in `base`: inputs and outputs of each."""
    config = AutoConfig.from_pretrained(base)
    width = config.hidden_size
    if config.model_type in ("gpt2", "phi"):
        return (width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)
    size = getattr(config, "head_dim", None) or width // config.num_attention_heads
    queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
    inner = config.intermediate_size
    return (width, queries), *[(width, keys)] * 2, (queries, width), *[(width, inner)] * 2, (inner, width)
