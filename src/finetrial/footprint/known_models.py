"""The models known by name, with their configurations and what their makers published about their size.

A configuration here is what the model's own config.json says, less what does not bear on a count. What the makers
published often is round, and sometimes counts other rows (Gemma's paper counts 256,128 words, the released files
hold 256,000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetrial.footprint.structure import Published


@dataclass(frozen=True)
class NamedModel:
    config: dict[str, Any]
    published: Published
    hub_ids: tuple[str, ...] = ()


_GPT2 = "names of the released models, openai/gpt-2 on GitHub; the 2019 paper's Table 2 says less"
_GPT3 = "Brown et al. 2020, Table 2.1"
_PHI = "Gunasekar et al. 2023 (phi-1), Li et al. 2023 (phi-1.5), model card (phi-2)"
_PHI3 = "Abdin et al. 2024 (Phi-3, Phi-4)"
_LLAMA2 = "Touvron et al. 2023, Table 1"
_LLAMA3 = "Dubey et al. 2024, Table 3; model cards of Llama 3.2"
_MISTRAL = "Mistral AI's announcements"
_QWEN2 = "Yang et al. 2024 (Qwen2), Table 1; model card of Qwen1.5-MoE"
_QWEN25 = "model cards of Qwen2.5"
_QWEN3 = "model cards of Qwen3"
_GEMMA = "Gemma Team 2024, Table 2: embedding and other parameters together, of 256,128 words"
_GEMMA2 = "Gemma Team 2024 (Gemma 2), Table 2: embedding and other parameters together, of 256,128 words"
_GEMMA3 = "Gemma Team 2025 (Gemma 3), Table 1, text part; model card of 270m"


def _gpt2(
    width: int, depth: int, heads: int, published: float, *hub_ids: str, source: str = _GPT2, **more: Any
) -> NamedModel:
    config = {"model_type": "gpt2", "n_embd": width, "n_layer": depth, "n_head": heads, "vocab_size": 50_257}
    return NamedModel({**config, "n_positions": 1024, **more}, Published(published, source), hub_ids)


def _gpt3(width: int, depth: int, heads: int, published: float, **more: Any) -> NamedModel:
    """Vocabulary and learned positions as GPT-2's, context 2048; banded attention is counted as dense (the
    band's width is not published)."""
    return _gpt2(width, depth, heads, published, source=_GPT3, n_positions=2048, **more)


def _rotary(
    kind: str,
    width: int,
    depth: int,
    heads: int,
    kv_heads: int,
    inner: int,
    vocabulary: int,
    published: Published,
    *hub_ids: str,
    tied: bool = False,
    **more: Any,
) -> NamedModel:
    config = {
        "model_type": kind,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }
    return NamedModel({**config, **more}, published, hub_ids)


def _phi(width: int, depth: int, inner: int, published: float, *hub_ids: str) -> NamedModel:
    published_ = Published(published, _PHI)
    return _rotary("phi", width, depth, 32, 32, inner, 51_200, published_, *hub_ids, max_position_embeddings=2048)


def _llama2(width: int, depth: int, heads: int, kv_heads: int, inner: int, size: str) -> NamedModel:
    ids = (f"meta-llama/Llama-2-{size}-hf", f"meta-llama/Llama-2-{size}-chat-hf")
    published = Published(float(size[:-1]) * 1e9, _LLAMA2)
    return _rotary(
        "llama", width, depth, heads, kv_heads, inner, 32_000, published, *ids, max_position_embeddings=4096
    )


def _llama3(
    width: int,
    depth: int,
    heads: int,
    inner: int,
    published: float,
    *hub_ids: str,
    tied: bool = False,
    context: int = 131_072,
) -> NamedModel:
    return _rotary(
        "llama",
        width,
        depth,
        heads,
        8,
        inner,
        128_256,
        Published(published, _LLAMA3),
        *hub_ids,
        tied=tied,
        head_dim=64 if width == 2048 else 128,
        max_position_embeddings=context,
    )


def _mistral(
    width: int, depth: int, vocabulary: int, inner: int, published: float, *hub_ids: str, **more: Any
) -> NamedModel:
    published_ = Published(published, _MISTRAL)
    more = {"sliding_window": None, "head_dim": 128, "max_position_embeddings": 32_768, **more}
    return _rotary("mistral", width, depth, 32, 8, inner, vocabulary, published_, *hub_ids, **more)


def _qwen(
    kind: str,
    width: int,
    depth: int,
    heads: int,
    kv_heads: int,
    inner: int,
    published: float,
    name: str,
    *,
    vocabulary: int = 151_936,
    tied: bool = False,
    active: float | None = None,
    source: str,
    **more: Any,
) -> NamedModel:
    """`name` is the hub name under Qwen/; its Instruct twin has the same shape."""
    published_ = Published(published, source, active)
    ids = (f"Qwen/{name}", f"Qwen/{name}-Base", f"Qwen/{name}-Instruct", f"Qwen/{name}-Chat")
    more = {"max_position_embeddings": 32_768, **more}
    return _rotary(kind, width, depth, heads, kv_heads, inner, vocabulary, published_, *ids, tied=tied, **more)


def _qwen2(*shape: Any, **more: Any) -> NamedModel:
    return _qwen("qwen2", *shape, **{"source": _QWEN2, **more})


def _qwen25(*shape: Any, **more: Any) -> NamedModel:
    return _qwen("qwen2", *shape, source=_QWEN25, **more)


def _qwen3(*shape: Any, **more: Any) -> NamedModel:
    return _qwen("qwen3", *shape, source=_QWEN3, head_dim=128, **{"max_position_embeddings": 40_960, **more})


def _gemma(
    kind: str,
    width: int,
    depth: int,
    heads: int,
    kv_heads: int,
    inner: int,
    published: float,
    *hub_ids: str,
    source: str,
    vocabulary: int = 256_000,
    **more: Any,
) -> NamedModel:
    more = {"head_dim": 256, "max_position_embeddings": 8192, **more}
    published_ = Published(published, source)
    return _rotary(kind, width, depth, heads, kv_heads, inner, vocabulary, published_, *hub_ids, tied=True, **more)


def _gemma3(
    width: int, depth: int, heads: int, kv_heads: int, inner: int, published: float, size: str, **more: Any
) -> NamedModel:
    ids = (f"google/gemma-3-{size}-pt", f"google/gemma-3-{size}-it", f"google/gemma-3-{size}")
    more = {"vocabulary": 262_208, "sliding_window": 1024, "max_position_embeddings": 131_072, **more}
    return _gemma("gemma3_text", width, depth, heads, kv_heads, inner, published, *ids, source=_GEMMA3, **more)


NAMED_MODELS: dict[str, NamedModel] = {
    "gpt2": _gpt2(768, 12, 12, 124e6, "openai-community/gpt2", "openai/gpt2"),
    "gpt2-medium": _gpt2(1024, 24, 16, 355e6, "openai-community/gpt2-medium"),
    "gpt2-large": _gpt2(1280, 36, 20, 774e6, "openai-community/gpt2-large"),
    "gpt2-xl": _gpt2(1600, 48, 25, 1558e6, "openai-community/gpt2-xl"),
    "distilgpt2": _gpt2(768, 6, 12, 82e6, "distilbert/distilgpt2", source="model card of distilgpt2"),
    "gpt3-125m": _gpt3(768, 12, 12, 125e6),
    "gpt3-350m": _gpt3(1024, 24, 16, 350e6),
    "gpt3-760m": _gpt3(1536, 24, 16, 760e6),
    "gpt3-1.3b": _gpt3(2048, 24, 24, 1.3e9, head_dim=128),  # XL, as printed: 24 heads of 128 make 3072, not 2048
    "gpt3-2.7b": _gpt3(2560, 32, 32, 2.7e9),
    "gpt3-6.7b": _gpt3(4096, 32, 32, 6.7e9),
    "gpt3-13b": _gpt3(5140, 40, 40, 13e9, head_dim=128),  # as printed: 40 heads of 128 make 5120, not 5140
    "gpt3-175b": _gpt3(12_288, 96, 96, 175e9),
    "phi-1": _phi(2048, 24, 8192, 1.3e9, "microsoft/phi-1"),
    "phi-1.5": _phi(2048, 24, 8192, 1.3e9, "microsoft/phi-1_5"),
    "phi-2": _phi(2560, 32, 10_240, 2.7e9, "microsoft/phi-2"),
    "phi-3-mini": _rotary(
        "phi3",
        *(3072, 32, 32, 32, 8192, 32_064),
        Published(3.8e9, _PHI3),
        "microsoft/Phi-3-mini-4k-instruct",
        max_position_embeddings=4096,
        sliding_window=2047,
    ),
    "phi-4": _rotary(
        "phi3",
        *(5120, 40, 40, 10, 17_920, 100_352),
        Published(14e9, _PHI3),
        "microsoft/phi-4",
        max_position_embeddings=16_384,
    ),
    "llama-2-7b": _llama2(4096, 32, 32, 32, 11_008, "7b"),
    "llama-2-13b": _llama2(5120, 40, 40, 40, 13_824, "13b"),
    "llama-2-70b": _llama2(8192, 80, 64, 8, 28_672, "70b"),
    "llama-3-8b": _llama3(
        *(4096, 32, 32, 14_336, 8e9),
        "meta-llama/Meta-Llama-3-8B",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        context=8192,
    ),
    "llama-3-70b": _llama3(
        *(8192, 80, 64, 28_672, 70e9),
        "meta-llama/Meta-Llama-3-70B",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        context=8192,
    ),
    "llama-3.1-8b": _llama3(
        *(4096, 32, 32, 14_336, 8e9), "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct"
    ),
    "llama-3.1-70b": _llama3(
        *(8192, 80, 64, 28_672, 70e9), "meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.1-70B-Instruct"
    ),
    "llama-3.1-405b": _llama3(*(16_384, 126, 128, 53_248, 405e9), "meta-llama/Llama-3.1-405B"),
    "llama-3.2-1b": _llama3(
        *(2048, 16, 32, 8192, 1.23e9), "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-1B-Instruct", tied=True
    ),
    "llama-3.2-3b": _llama3(
        *(3072, 28, 24, 8192, 3.21e9), "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.2-3B-Instruct", tied=True
    ),
    "mistral-7b": _mistral(
        *(4096, 32, 32_000, 14_336, 7.3e9),
        "mistralai/Mistral-7B-v0.1",
        "mistralai/Mistral-7B-Instruct-v0.1",
        sliding_window=4096,
    ),
    "mistral-7b-v0.3": _mistral(
        *(4096, 32, 32_768, 14_336, 7.3e9), "mistralai/Mistral-7B-v0.3", "mistralai/Mistral-7B-Instruct-v0.3"
    ),
    "mistral-nemo-12b": _mistral(
        *(5120, 40, 131_072, 14_336, 12e9), "mistralai/Mistral-Nemo-Base-2407", max_position_embeddings=131_072
    ),
    "mistral-small-24b": _mistral(*(5120, 40, 131_072, 32_768, 24e9), "mistralai/Mistral-Small-24B-Base-2501"),
    "mixtral-8x7b": _rotary(
        "mixtral",
        *(4096, 32, 32, 8, 14_336, 32_000),
        Published(46.7e9, _MISTRAL, 12.9e9),
        "mistralai/Mixtral-8x7B-v0.1",
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        max_position_embeddings=32_768,
    ),
    "mixtral-8x22b": _rotary(
        "mixtral",
        *(6144, 56, 48, 8, 16_384, 32_768),
        Published(141e9, _MISTRAL, 39e9),
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        max_position_embeddings=65_536,
    ),
    "qwen1.5-moe-a2.7b": _qwen(
        "qwen2_moe",
        *(2048, 24, 16, 16, 5632, 14.3e9, "Qwen1.5-MoE-A2.7B"),
        active=2.7e9,
        source=_QWEN2,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        num_experts=60,
        num_experts_per_tok=4,
    ),
    "qwen2-0.5b": _qwen2(896, 24, 14, 2, 4864, 0.5e9, "Qwen2-0.5B", tied=True),
    "qwen2-1.5b": _qwen2(1536, 28, 12, 2, 8960, 1.5e9, "Qwen2-1.5B", tied=True),
    "qwen2-7b": _qwen2(3584, 28, 28, 4, 18_944, 7e9, "Qwen2-7B", vocabulary=152_064),
    "qwen2-72b": _qwen2(8192, 80, 64, 8, 29_568, 72e9, "Qwen2-72B", vocabulary=152_064),
    "qwen2-57b-a14b": _qwen(
        "qwen2_moe",
        *(3584, 28, 28, 4, 18_944, 57e9, "Qwen2-57B-A14B"),
        active=14e9,
        source=_QWEN2,
        moe_intermediate_size=2560,
        shared_expert_intermediate_size=20_480,
        num_experts=64,
        num_experts_per_tok=8,
    ),
    "qwen2.5-0.5b": _qwen25(896, 24, 14, 2, 4864, 0.49e9, "Qwen2.5-0.5B", tied=True),
    "qwen2.5-1.5b": _qwen25(1536, 28, 12, 2, 8960, 1.54e9, "Qwen2.5-1.5B", tied=True),
    "qwen2.5-3b": _qwen25(2048, 36, 16, 2, 11_008, 3.09e9, "Qwen2.5-3B", tied=True),
    "qwen2.5-7b": _qwen25(3584, 28, 28, 4, 18_944, 7.61e9, "Qwen2.5-7B", vocabulary=152_064),
    "qwen2.5-14b": _qwen25(5120, 48, 40, 8, 13_824, 14.7e9, "Qwen2.5-14B", vocabulary=152_064),
    "qwen2.5-32b": _qwen25(5120, 64, 40, 8, 27_648, 32.5e9, "Qwen2.5-32B", vocabulary=152_064),
    "qwen2.5-72b": _qwen25(8192, 80, 64, 8, 29_568, 72.7e9, "Qwen2.5-72B", vocabulary=152_064),
    "qwen3-0.6b": _qwen3(1024, 28, 16, 8, 3072, 0.6e9, "Qwen3-0.6B", tied=True),
    "qwen3-1.7b": _qwen3(2048, 28, 16, 8, 6144, 1.7e9, "Qwen3-1.7B", tied=True),
    "qwen3-4b": _qwen3(2560, 36, 32, 8, 9728, 4.0e9, "Qwen3-4B", tied=True),
    "qwen3-8b": _qwen3(4096, 36, 32, 8, 12_288, 8.2e9, "Qwen3-8B"),
    "qwen3-14b": _qwen3(5120, 40, 40, 8, 17_408, 14.8e9, "Qwen3-14B"),
    "qwen3-32b": _qwen3(5120, 64, 64, 8, 25_600, 32.8e9, "Qwen3-32B"),
    "qwen3-30b-a3b": _qwen(
        "qwen3_moe",
        *(2048, 48, 32, 4, 6144, 30.5e9, "Qwen3-30B-A3B"),
        active=3.3e9,
        source=_QWEN3,
        head_dim=128,
        moe_intermediate_size=768,
        num_experts=128,
        num_experts_per_tok=8,
        max_position_embeddings=40_960,
    ),
    "qwen3-235b-a22b": _qwen(
        "qwen3_moe",
        *(4096, 94, 64, 4, 12_288, 235e9, "Qwen3-235B-A22B"),
        active=22e9,
        source=_QWEN3,
        head_dim=128,
        moe_intermediate_size=1536,
        num_experts=128,
        num_experts_per_tok=8,
        max_position_embeddings=40_960,
    ),
    "gemma-2b": _gemma(
        "gemma", *(2048, 18, 8, 1, 16_384, 2_506_434_560), "google/gemma-2b", "google/gemma-2b-it", source=_GEMMA
    ),
    "gemma-7b": _gemma(
        "gemma", *(3072, 28, 16, 16, 24_576, 8_538_074_112), "google/gemma-7b", "google/gemma-7b-it", source=_GEMMA
    ),
    "gemma-2-2b": _gemma(
        "gemma2",
        *(2304, 26, 8, 4, 9216, 2_614_636_800),
        "google/gemma-2-2b",
        "google/gemma-2-2b-it",
        source=_GEMMA2,
    ),
    "gemma-2-9b": _gemma(
        "gemma2",
        *(3584, 42, 16, 8, 14_336, 9_242_164_736),
        "google/gemma-2-9b",
        "google/gemma-2-9b-it",
        source=_GEMMA2,
    ),
    "gemma-2-27b": _gemma(
        "gemma2",
        *(4608, 46, 32, 16, 36_864, 27_227_718_144),
        "google/gemma-2-27b",
        "google/gemma-2-27b-it",
        source=_GEMMA2,
        head_dim=128,
    ),
    "gemma-3-270m": _gemma3(
        *(640, 18, 4, 1, 2048, 270e6, "270m"),
        vocabulary=262_144,
        sliding_window=512,
        max_position_embeddings=32_768,
    ),
    "gemma-3-1b": _gemma3(
        *(1152, 26, 4, 1, 6912, 1.0e9, "1b"), vocabulary=262_144, sliding_window=512, max_position_embeddings=32_768
    ),
    "gemma-3-4b": _gemma3(2560, 34, 8, 4, 10_240, 3.884e9, "4b"),
    "gemma-3-12b": _gemma3(3840, 48, 16, 8, 15_360, 11.771e9, "12b"),
    "gemma-3-27b": _gemma3(5376, 62, 32, 16, 21_504, 27.016e9, "27b", head_dim=128),
}
