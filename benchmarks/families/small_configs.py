"""Build a small configuration of any causal-LM class of transformers.

Fields that configurations have in common get small values under whatever of these names a class knows; what a class
asks for beyond that stands in PATCHES. Nothing is fetched.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 300
POSITIONS = 64
END = 0
_WINDOW = 8  # tokens that a layer of a limited sight sees, fewer than the walk's texts have

_WIDTHS = dict.fromkeys(("hidden_size", "n_embd", "d_model", "dim", "embedding_size", "emb_dim"), 32)
_DEPTHS = dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 2)
_HEADS = dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4)
_INNER = dict.fromkeys(
    (
        *("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "ffn_hidden_size"),
        *("d_ff", "dff", "shared_intermediate_size", "expert_ffn_hidden_size"),
    ),
    48,
)
_POSITIONS = dict.fromkeys(
    ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"), POSITIONS
)
SMALL: Mapping[str, Any] = {
    **_WIDTHS,
    **_DEPTHS,
    **_HEADS,
    **_INNER,
    **_POSITIONS,
    "vocab_size": VOCABULARY,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "head_dim": 8,
    "hidden_size_global": 32,
    "rotary_dim": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "sliding_window": _WINDOW,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "qk_head_dim": 16,
    "pad_token_id": END,
    "bos_token_id": END,
    "eos_token_id": END,
    "is_decoder": True,  # of encoders that can be one
}
_MAMBA = {"mamba_n_heads": 8, "mamba_d_state": 16, "mamba_chunk_size": 8}
_ONE_EACH = {"layer_types": ["indexed_attention", "sliding_attention"], "mlp_layer_types": ["dense", "sparse"]}
_DOTS3 = {"num_key_value_heads": 4, "shared_experts_intermediate_size": 24, "index_topk": 8, **_ONE_EACH}
_RELATIVE = {"unpadded_vocab_size": VOCABULARY, "rel_extent": 32, "swa_num_attention_heads": 4}
_INKLING2 = {**_RELATIVE, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "sliding_window_size": 8}
_ASSISTED = {
    "model_type": "gemma4_text",
    **SMALL,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": 0,
}
_ASSISTANT = {
    "text_config": _ASSISTED,
    "backbone_hidden_size": 32,
    "num_centroids": 8,
    "centroid_intermediate_top_k": 2,
}
_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 2,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_SHARED = {"num_kv_shared_layers": 2, "num_hidden_layers": 4, "laurel_rank": 8}
PATCHES: Mapping[str, Mapping[str, Any]] = {
    "axk1": {"n_group": 1, "topk_group": 1},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 50, "vocab_size": VOCABULARY},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": dict.fromkeys(("sliding_attention", "full_attention"), _ROPE),
    },
    "cpmant": {"dim_ff": 48, "dim_head": 8},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 48},
    },
    "deepseek_v4": {"head_dim": 16, "o_groups": 2, "index_n_heads": 4, "index_head_dim": 16, "index_topk": 4},
    "dots1": {"n_shared_experts": 1},
    "dots3_note": _DOTS3,
    "dots3_note_text": _DOTS3,
    "gemma3n_text": {**_SHARED, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4_assistant": _ASSISTANT,
    "gemma4_unified_assistant": _ASSISTANT,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"], "num_key_value_heads": 2},
    "inkling2_loop_text": {
        **_INKLING2,
        "num_hidden_layers": 4,
        "layer_types": ["hybrid_sliding", "hybrid"] * 2,
        "n_layers_per_attn_res_block": 1,
        "loop_layer_index_start": 1,
        "loop_layer_index_end": 3,
    },
    "inkling2_text": _INKLING2,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": 8, "lru_width": 32},
    "kimi_linear": {"linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 8, "n_groups": 2, "state_size": 8, "chunk_size": 8},
    "qwen4_exp_text": _INDEXER,
    "qwen4_exp": {"text_config": {"model_type": "qwen4_exp_text", **SMALL, **_INDEXER}},
    "reformer": {
        "axial_pos_embds_dim": (16, 16),
        "axial_pos_shape": (8, 8),
        "attn_layers": ("local", "lsh"),
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 4,
        "feed_forward_size": 48,
        "attention_head_size": 8,
    },
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": 32,
        "shape_embed_dim": 8,
        "shape_vocab_size": VOCABULARY,
    },
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "mamba_d_state": 8,
    },
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"], "num_key_value_heads": 4, "mamba_d_state": 8},
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
}


def model_types() -> tuple[str, ...]:
    """Every model type that transformers has a causal-LM class for."""
    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def class_name(model_type: str) -> str:
    """The class by which transformers builds it."""
    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]


def small_config(model_type: str) -> PretrainedConfig:
    """A small configuration. Raises whatever the configuration's own checks raise."""
    cls = CONFIG_MAPPING[model_type]
    settings = _small(cls)
    try:
        whole = cls()
    except Exception:  # a default that the class's own checks refuse: then it has no parts that must be small
        whole = None
    for name in getattr(cls, "sub_configs", None) or {}:
        part = getattr(whole, name, None)
        if isinstance(part, PretrainedConfig):
            kinds = _one_layer_of_each_kind(part, known=_fields(type(part)))
            patches = PATCHES.get(part.model_type, {})
            settings[name] = {"model_type": part.model_type, **_small(type(part)), **kinds, **patches}
    settings |= _one_layer_of_each_kind(whole, known=_fields(cls))
    settings |= PATCHES.get(model_type, {})
    return cls(**settings)


def _one_layer_of_each_kind(whole: Any, *, known: set[str]) -> dict[str, Any]:
    """Fields by which a small model has each kind of layer that the whole one mixes, in the order of appearance."""
    kinds = list(dict.fromkeys(getattr(whole, "layer_types", None) or ()))
    if len(kinds) < 2 or "layer_types" not in known:
        return {}
    depth = {name: len(kinds) for name in _DEPTHS if name in known}
    return {"layer_types": kinds, **depth}


def _small(cls: type[PretrainedConfig]) -> dict[str, Any]:
    known = _fields(cls)
    found = {name: value for name, value in SMALL.items() if name in known}
    if "kv_lora_rank" in known and "num_key_value_heads" in known:  # latent attention has keys for every head
        found["num_key_value_heads"] = SMALL["num_attention_heads"]
    return found


def _fields(cls: type[PretrainedConfig]) -> set[str]:
    known = set(inspect.signature(cls.__init__).parameters)
    if dataclasses.is_dataclass(cls):
        known |= {one.name for one in dataclasses.fields(cls)}
    return known
