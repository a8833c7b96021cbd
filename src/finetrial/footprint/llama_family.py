"""Shapes of Llama, Mistral, Mixtral, Qwen, Gemma, Phi-3, OLMo 2 and SmolLM3, read from their configurations.

They are one design (RMS norms, rotary positions, a gated MLP) with a handful of differences, which are the
keyword arguments of `_shape`. Each reader follows the model of the same `model_type` in transformers, defaults
included; the tests build the real one on the meta device and compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from finetrial.footprint.fields import Fields, head_linear, one_role
from finetrial.footprint.structure import Layer, Linear, Shape


@dataclass(frozen=True)
class _Attention:
    width: int
    heads: int
    kv_heads: int
    head_size: int

    @property
    def q_rows(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_rows(self) -> int:
        return self.kv_heads * self.head_size

    def linears(self, *, qkv_bias: bool = False, o_bias: bool = False) -> tuple[Linear, ...]:
        return (
            one_role("self_attn.q_proj", "q", self.width, self.q_rows, qkv_bias),
            one_role("self_attn.k_proj", "k", self.width, self.kv_rows, qkv_bias),
            one_role("self_attn.v_proj", "v", self.width, self.kv_rows, qkv_bias),
            one_role("self_attn.o_proj", "o", self.q_rows, self.width, o_bias),
        )


def _attention(
    f: Fields, *, width: int, heads: int | None = None, kv_heads: int | None = None, head_size: int | None = None
) -> _Attention:
    """Heads by the configuration; the keyword arguments are the architecture's own defaults."""
    heads = f.count("num_attention_heads", default=heads)
    if kv_heads is None or f.is_null("num_key_value_heads"):
        kv_heads = heads
    return _Attention(
        width=width,
        heads=heads,
        kv_heads=f.count("num_key_value_heads", default=kv_heads),
        head_size=f.count("head_dim", default=head_size or width // heads),
    )


def _gated(f: Fields, *, width: int, bias: bool = False) -> tuple[Linear, ...]:
    inner = f.count("intermediate_size")
    return (
        one_role("mlp.gate_proj", "gate", width, inner, bias),
        one_role("mlp.up_proj", "up", width, inner, bias),
        one_role("mlp.down_proj", "down", inner, width, bias),
    )


def _experts(*, width: int, inner: int, experts: int, active: int) -> tuple[Linear, ...]:
    """The router and its experts; gate and up are one tensor, as transformers 5 stores them."""
    gate_up = Linear(
        path="mlp.experts.gate_up_proj",
        roles=("gate", "up"),
        inputs=width,
        widths=(inner, inner),
        copies=experts,
        active=active,
    )
    down = one_role("mlp.experts.down_proj", "down", inner, width)
    return (one_role("mlp.gate", "router", width, experts), gate_up, replace(down, copies=experts, active=active))


def _layer_choice(
    f: Fields, *, depth: int, dense: tuple[Linear, ...], sparse: tuple[Linear, ...]
) -> list[tuple[Linear, ...]]:
    """Mixtures stand in every `decoder_sparse_step`-th layer that `mlp_only_layers` does not name (Qwen)."""
    step, dense_only = f.count("decoder_sparse_step", default=1), f.numbers("mlp_only_layers")
    return [sparse if i not in dense_only and (i + 1) % step == 0 else dense for i in range(depth)]


def _shape(
    f: Fields,
    *,
    architecture: str,
    attention: _Attention,
    projections: tuple[Linear, ...],
    mlps: Sequence[tuple[Linear, ...]],  # one a layer
    norms: int = 2,
    head_norm_params: int = 0,
    windows: Sequence[int | None] | None = None,
    tied: bool = False,
    vocabulary: int | None = None,
    context: int | None = None,
) -> Shape:
    width, depth = attention.width, len(mlps)
    vocabulary = f.count("vocab_size", default=vocabulary)
    layers = tuple(
        Layer(linears=projections + mlp, norm_params=norms * width + head_norm_params, window=window)
        for mlp, window in zip(mlps, windows or (None,) * depth, strict=True)
    )
    return Shape(
        name=f.name,
        architecture=architecture,
        width=width,
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        head_size=attention.head_size,
        vocabulary=vocabulary,
        context=f.count_if_given("max_position_embeddings") or context,
        layers=layers,
        layer_path="model.layers.{layer}",
        position_rows=0,
        final_norm_params=width,
        head=head_linear(width, vocabulary),
        tied_head=f.flag("tie_word_embeddings", default=tied),
        parallel=False,
    )


def llama(f: Fields) -> Shape:
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width)
    bias = f.flag("attention_bias", default=False)
    mlp = _gated(f, width=width, bias=f.flag("mlp_bias", default=False))
    return _shape(
        f,
        architecture="llama",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=[mlp] * depth,
    )


def smollm3(f: Fields) -> Shape:
    """Llama with tied heads; positions, which it leaves out of some layers, weigh nothing."""
    shape = llama(f)
    tied = f.flag("tie_word_embeddings", default=True)
    windows = f.windows(depth=shape.depth) if f.flag("use_sliding_window", default=False) else [None] * shape.depth
    layers = tuple(replace(layer, window=window) for layer, window in zip(shape.layers, windows, strict=True))
    return replace(shape, architecture="smollm3", layers=layers, tied_head=tied)


def olmo2(f: Fields) -> Shape:
    """Norms over all of q and all of k, not a head at a time."""
    shape = llama(f)
    rows = (shape.heads + shape.kv_heads) * shape.head_size
    layers = tuple(replace(layer, norm_params=layer.norm_params + rows) for layer in shape.layers)
    return replace(shape, architecture="olmo2", layers=layers)


def phi3(f: Fields) -> Shape:
    """Phi-3 and Phi-4: q, k, v in one linear, gate and up in another."""
    width, depth, inner = f.count("hidden_size"), f.count("num_hidden_layers"), f.count("intermediate_size")
    attention = _attention(f, width=width)
    qkv = Linear(
        path="self_attn.qkv_proj",
        roles=("q", "k", "v"),
        inputs=width,
        widths=(attention.q_rows, attention.kv_rows, attention.kv_rows),
    )
    mlp = (
        Linear(path="mlp.gate_up_proj", roles=("gate", "up"), inputs=width, widths=(inner, inner)),
        one_role("mlp.down_proj", "down", inner, width),
    )
    return _shape(
        f,
        architecture="phi3",
        attention=attention,
        projections=(qkv, one_role("self_attn.o_proj", "o", attention.q_rows, width)),
        mlps=[mlp] * depth,
        windows=f.windows(depth=depth),
    )


def mistral(f: Fields) -> Shape:
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=8)
    return _shape(
        f,
        architecture="mistral",
        attention=attention,
        projections=attention.linears(),
        mlps=[_gated(f, width=width)] * depth,
        windows=f.windows(depth=depth, default=4096),
    )


def mixtral(f: Fields) -> Shape:
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=8)
    mlp = _experts(
        width=width,
        inner=f.count("intermediate_size"),
        experts=f.count("num_local_experts", "num_experts", default=8),
        active=f.count("num_experts_per_tok", default=2),
    )
    return _shape(
        f,
        architecture="mixtral",
        attention=attention,
        projections=attention.linears(),
        mlps=[mlp] * depth,
        windows=f.windows(depth=depth),
    )


def _qwen_windows(f: Fields, *, depth: int) -> tuple[int | None, ...]:
    if not f.flag("use_sliding_window", default=False):
        return (None,) * depth
    first = f.count("max_window_layers", default=28)
    return f.windows(depth=depth, default=4096, slides=lambda layer: layer >= first)


def qwen2(f: Fields) -> Shape:
    """Qwen2 and Qwen2.5: biases on q, k and v alone."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=32)
    return _shape(
        f,
        architecture="qwen2",
        attention=attention,
        projections=attention.linears(qkv_bias=True),
        mlps=[_gated(f, width=width)] * depth,
        windows=_qwen_windows(f, depth=depth),
    )


def qwen3(f: Fields) -> Shape:
    """Qwen3: a norm on each head of q and of k."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=32, head_size=128)
    bias = f.flag("attention_bias", default=False)
    return _shape(
        f,
        architecture="qwen3",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=[_gated(f, width=width)] * depth,
        head_norm_params=2 * attention.head_size,
        windows=_qwen_windows(f, depth=depth),
    )


def qwen2_moe(f: Fields) -> Shape:
    """Experts beside one shared expert that every token passes, under a gate of its own."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=16)
    shared = f.count("shared_expert_intermediate_size", default=5632)
    sparse = (
        *_experts(
            width=width,
            inner=f.count("moe_intermediate_size", default=1408),
            experts=f.count("num_experts", "num_local_experts", default=60),
            active=f.count("num_experts_per_tok", default=4),
        ),
        one_role("mlp.shared_expert.gate_proj", "gate", width, shared),
        one_role("mlp.shared_expert.up_proj", "up", width, shared),
        one_role("mlp.shared_expert.down_proj", "down", shared, width),
        one_role("mlp.shared_expert_gate", "router", width, 1),
    )
    return _shape(
        f,
        architecture="qwen2_moe",
        attention=attention,
        projections=attention.linears(qkv_bias=f.flag("qkv_bias", default=True)),
        mlps=_layer_choice(f, depth=depth, dense=_gated(f, width=width), sparse=sparse),
        windows=_qwen_windows(f, depth=depth),
    )


def qwen3_moe(f: Fields) -> Shape:
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=4)
    bias = f.flag("attention_bias", default=False)
    sparse = _experts(
        width=width,
        inner=f.count("moe_intermediate_size", default=768),
        experts=f.count("num_experts", "num_local_experts", default=128),
        active=f.count("num_experts_per_tok", default=8),
    )
    slides = f.flag("use_sliding_window", default=False)
    return _shape(
        f,
        architecture="qwen3_moe",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=_layer_choice(f, depth=depth, dense=_gated(f, width=width), sparse=sparse),
        head_norm_params=2 * attention.head_size,
        windows=f.windows(depth=depth, default=4096) if slides else None,
    )


def gemma(f: Fields) -> Shape:
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=16, head_size=256)
    bias = f.flag("attention_bias", default=False)
    return _shape(
        f,
        architecture="gemma",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=[_gated(f, width=width)] * depth,
        tied=True,
    )


def gemma2(f: Fields) -> Shape:
    """Norms before and after attention and MLP; every other layer, the first included, looks 4096 back."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    attention = _attention(f, width=width, kv_heads=4, head_size=256)
    bias = f.flag("attention_bias", default=False)
    return _shape(
        f,
        architecture="gemma2",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=[_gated(f, width=width)] * depth,
        norms=4,
        windows=f.windows(depth=depth, default=4096, slides=lambda layer: layer % 2 == 0),
        tied=True,
    )


def gemma3_text(f: Fields) -> Shape:
    """Gemma 2 with head norms and one global layer in six.

    The text part of a multimodal configuration is saved as its difference from transformers' defaults, so these
    stand here too: 8 heads, 4 of keys and values, 262,208 words.
    """
    width, depth = f.count("hidden_size", default=2304), f.count("num_hidden_layers", default=26)
    attention = _attention(f, width=width, heads=8, kv_heads=4, head_size=256)
    bias, every = f.flag("attention_bias", default=False), f.count("sliding_window_pattern", default=6)
    inner = f.count("intermediate_size", default=9216)
    mlp = (
        one_role("mlp.gate_proj", "gate", width, inner),
        one_role("mlp.up_proj", "up", width, inner),
        one_role("mlp.down_proj", "down", inner, width),
    )
    return _shape(
        f,
        architecture="gemma3_text",
        attention=attention,
        projections=attention.linears(qkv_bias=bias, o_bias=bias),
        mlps=[mlp] * depth,
        norms=4,
        head_norm_params=2 * attention.head_size,
        windows=f.windows(depth=depth, default=4096, slides=lambda layer: (layer + 1) % every != 0),
        tied=True,
        vocabulary=262_208,
        context=131_072,
    )
