"""The Hugging Face configuration that a GGUF file's header stands for, as far as parameters are counted by it.

Keys: ggml's specification of GGUF, docs/gguf.md, section "LLM". A key is given behind the architecture's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from finetrial.errors import nearest
from finetrial.footprint.fields import UnknownShape

# llama.cpp's name of an architecture -> Hugging Face's `model_type`, where both lay out the same matrices.
_MODEL_TYPES = {
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "llama": "llama",
    "olmo2": "olmo2",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "smollm3": "smollm3",
}
_KEYS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
}
_TOKENS = "tokenizer.ggml.tokens.length"  # the vocabulary where no size is given


def config_from_gguf(
    architecture: str, *, fields: Mapping[str, Any], tensors: Collection[str]
) -> Mapping[str, Any]:
    """The configuration, from the header's fields (a list by its length) and the names of the tensors.

    Raises UnknownShape for an architecture whose matrices are not laid out here.
    """
    if architecture not in _MODEL_TYPES or f"{architecture}.expert_count" in fields:
        close = nearest(architecture, _MODEL_TYPES)
        raise UnknownShape(
            "the parameters of this GGUF file cannot be counted: its architecture is unknown here",
            got=architecture + (" with experts" if architecture in _MODEL_TYPES else ""),
            expected="one of " + ", ".join(_MODEL_TYPES),
            fix=f"Did you mean {close!r}?" if close and close != architecture else None,
        )
    config = {
        name: fields[f"{architecture}.{key}"] for key, name in _KEYS.items() if f"{architecture}.{key}" in fields
    }
    config.setdefault("vocab_size", fields.get(_TOKENS))
    # without a matrix of its own the head is the embedding
    tied = "output.weight" not in tensors
    return config | {"model_type": _MODEL_TYPES[architecture], "tie_word_embeddings": tied}
