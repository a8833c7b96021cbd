"""Shapes of GPT-2, GPT-3, OPT, GPT-NeoX and phi, read from their configurations.

Each reader follows the model of the same `model_type` in transformers; the tests build the real one on the meta
device and compare.
"""

from __future__ import annotations

from finetrial.footprint.fields import Fields, UnknownShape, head_linear, one_role
from finetrial.footprint.structure import Layer, Linear, Shape


def gpt2(f: Fields) -> Shape:
    """GPT-2 (Radford et al. 2019). `head_dim` is ours, for GPT-3 XL and 13B, whose heads exceed the width."""
    width = f.count("n_embd", "hidden_size")
    depth = f.count("n_layer", "num_hidden_layers")
    heads = f.count("n_head", "num_attention_heads")
    inner = f.count("n_inner", default=4 * width)
    head_size = f.count("head_dim", default=width // heads)
    vocabulary = f.count("vocab_size")
    context = f.count("n_positions", "max_position_embeddings", default=1024)
    rows = heads * head_size
    linears = (
        Linear(path="attn.c_attn", roles=("q", "k", "v"), inputs=width, widths=(rows, rows, rows), bias=True),
        one_role("attn.c_proj", "o", rows, width, True),
        one_role("mlp.c_fc", "up", width, inner, True),
        one_role("mlp.c_proj", "down", inner, width, True),
    )
    return Shape(
        name=f.name,
        architecture="gpt2",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=head_size,
        vocabulary=vocabulary,
        context=context,
        layers=(Layer(linears=linears, norm_params=4 * width, window=None),) * depth,
        layer_path="transformer.h.{layer}",
        position_rows=context,
        final_norm_params=2 * width,
        head=head_linear(width, vocabulary),
        tied_head=f.flag("tie_word_embeddings", default=True),
        parallel=False,
    )


def opt(f: Fields) -> Shape:
    """OPT (Zhang et al. 2022). Its position table has two rows more than its context."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    inner, bias = f.count("ffn_dim"), f.flag("enable_bias", default=True)
    heads, context = f.count("num_attention_heads"), f.count("max_position_embeddings", default=2048)
    vocabulary = f.count("vocab_size")
    if f.count("word_embed_proj_dim", default=width) != width:
        raise UnknownShape(f"cannot count {f.name}: its embedding is narrower than the model (OPT-350m)")
    if not f.flag("do_layer_norm_before", default=True):
        raise UnknownShape(f"cannot count {f.name}: it has no final norm (do_layer_norm_before is false)")
    norm = 2 * width if f.flag("layer_norm_elementwise_affine", default=True) else 0
    linears = (
        one_role("self_attn.q_proj", "q", width, width, bias),
        one_role("self_attn.k_proj", "k", width, width, bias),
        one_role("self_attn.v_proj", "v", width, width, bias),
        one_role("self_attn.out_proj", "o", width, width, bias),
        one_role("fc1", "up", width, inner, bias),
        one_role("fc2", "down", inner, width, bias),
    )
    return Shape(
        name=f.name,
        architecture="opt",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        vocabulary=vocabulary,
        context=context,
        layers=(Layer(linears=linears, norm_params=2 * norm, window=None),) * depth,
        layer_path="model.decoder.layers.{layer}",
        position_rows=context + 2,
        final_norm_params=norm,
        head=head_linear(width, vocabulary),
        tied_head=f.flag("tie_word_embeddings", default=True),
        parallel=False,
    )


def gpt_neox(f: Fields) -> Shape:
    """GPT-NeoX and Pythia (Black et al. 2022). Each head's q, k and v stand together."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    inner, bias = f.count("intermediate_size"), f.flag("attention_bias", default=True)
    heads, vocabulary = f.count("num_attention_heads"), f.count("vocab_size")
    linears = (
        Linear(
            path="attention.query_key_value",
            roles=("q", "k", "v"),
            inputs=width,
            widths=(width,) * 3,
            groups=heads,
            bias=bias,
        ),
        one_role("attention.dense", "o", width, width, bias),
        one_role("mlp.dense_h_to_4h", "up", width, inner, True),
        one_role("mlp.dense_4h_to_h", "down", inner, width, True),
    )
    return Shape(
        name=f.name,
        architecture="gpt_neox",
        width=width,
        heads=heads,
        kv_heads=heads,
        head_size=width // heads,
        vocabulary=vocabulary,
        context=f.count_if_given("max_position_embeddings"),
        layers=(Layer(linears=linears, norm_params=4 * width, window=None),) * depth,
        layer_path="gpt_neox.layers.{layer}",
        position_rows=0,
        final_norm_params=2 * width,
        head=head_linear(width, vocabulary, path="embed_out"),
        tied_head=f.flag("tie_word_embeddings", default=False),
        parallel=f.flag("use_parallel_residual", default=True),
    )


def phi(f: Fields) -> Shape:
    """phi-1, phi-1.5 and phi-2: attention and MLP side by side under one norm, biases everywhere."""
    width, depth = f.count("hidden_size"), f.count("num_hidden_layers")
    inner, heads = f.count("intermediate_size"), f.count("num_attention_heads")
    kv_heads, vocabulary = f.count("num_key_value_heads", default=heads), f.count("vocab_size")
    head_size = width // heads
    linears = (
        one_role("self_attn.q_proj", "q", width, heads * head_size, True),
        one_role("self_attn.k_proj", "k", width, kv_heads * head_size, True),
        one_role("self_attn.v_proj", "v", width, kv_heads * head_size, True),
        one_role("self_attn.dense", "o", heads * head_size, width, True),
        one_role("mlp.fc1", "up", width, inner, True),
        one_role("mlp.fc2", "down", inner, width, True),
    )
    head_norms = 4 * head_size if f.flag("qk_layernorm", default=False) else 0
    return Shape(
        name=f.name,
        architecture="phi",
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary=vocabulary,
        context=f.count_if_given("max_position_embeddings"),
        layers=(Layer(linears=linears, norm_params=2 * width + head_norms, window=None),) * depth,
        layer_path="model.layers.{layer}",
        position_rows=0,
        final_norm_params=2 * width,
        head=head_linear(width, vocabulary, bias=True),
        tied_head=f.flag("tie_word_embeddings", default=False),
        parallel=True,
    )
