"""Shapes of BLOOM, CodeGen, Falcon, GPT-BigCode, MPT and Persimmon, whose q, k and v are rows of one matrix.

Where those rows stand differs: one after the other, or taking turns by head, by group of heads or by the shard that
a model was trained in. Each reader follows the model of the same `model_type` in transformers; the tests build the
real one and compare, the rows by what changes in its queries, keys and values.
"""

from __future__ import annotations

from finetrial.footprint.fields import Fields, UnknownShape, head_linear, one_role
from finetrial.footprint.structure import Layer, Linear, Shape

_CODEGEN_SHARDS = 4  # `mp_num` in transformers' CodeGenAttention


def _shape(
    f: Fields,
    *,
    architecture: str,
    heads: int,
    depth: int,
    fused: Linear,
    output: tuple[str, bool],  # the attention's output: path, bias
    opening: tuple[str, bool],
    closing: tuple[str, bool],
    norms: int,  # parameters of a layer's
    final_norm: int,
    layer_path: str = "transformer.h.{layer}",
    inner: int | None = None,
    kv_heads: int | None = None,
    position_rows: int = 0,
    context: int | None = None,
    head_bias: bool = False,
    tied: bool = True,
    parallel: bool = False,
) -> Shape:
    width, vocabulary = fused.inputs, f.count("vocab_size")
    if width % heads:
        raise UnknownShape(f"cannot count {f.name}: its heads do not divide its width", got=f"{width} / {heads}")
    inner = inner or 4 * width
    linears = (
        fused,
        one_role(output[0], "o", width, width, output[1]),
        one_role(opening[0], "up", width, inner, opening[1]),
        one_role(closing[0], "down", inner, width, closing[1]),
    )
    return Shape(
        name=f.name,
        architecture=architecture,
        width=width,
        heads=heads,
        kv_heads=kv_heads or heads,
        head_size=width // heads,
        vocabulary=vocabulary,
        context=context,
        layers=(Layer(linears=linears, norm_params=norms, window=None),) * depth,
        layer_path=layer_path,
        position_rows=position_rows,
        final_norm_params=final_norm,
        head=head_linear(width, vocabulary, bias=head_bias),
        tied_head=f.flag("tie_word_embeddings", default=tied),
        parallel=parallel,
    )


def bloom(f: Fields) -> Shape:
    """BLOOM (Le Scao et al. 2022): each head's q, k and v stand together; a norm more behind the embedding."""
    width = f.count("n_embed", "hidden_size")
    heads = f.count("n_head", "num_attention_heads")
    return _shape(
        f,
        architecture="bloom",
        heads=heads,
        depth=f.count("n_layer", "num_hidden_layers"),
        fused=Linear(
            path="self_attention.query_key_value",
            roles=("q", "k", "v"),
            inputs=width,
            widths=(width,) * 3,
            groups=heads,
            bias=True,
        ),
        output=("self_attention.dense", True),
        opening=("mlp.dense_h_to_4h", True),
        closing=("mlp.dense_4h_to_h", True),
        norms=4 * width,
        final_norm=4 * width,
    )


def codegen(f: Fields) -> Shape:
    """CodeGen (Nijkamp et al. 2022): q, v and k of each of four shards stand together, in this order."""
    width = f.count("n_embd", "hidden_size")
    return _shape(
        f,
        architecture="codegen",
        heads=f.count("n_head", "num_attention_heads"),
        depth=f.count("n_layer", "num_hidden_layers"),
        fused=Linear(
            path="attn.qkv_proj",
            roles=("q", "v", "k"),
            inputs=width,
            widths=(width,) * 3,
            groups=_CODEGEN_SHARDS,
        ),
        output=("attn.out_proj", False),
        opening=("mlp.fc_in", True),
        closing=("mlp.fc_out", True),
        inner=f.count_if_given("n_inner"),
        norms=2 * width,
        final_norm=2 * width,
        context=f.count("n_positions", "max_position_embeddings", default=2048),
        head_bias=True,
        tied=False,
        parallel=True,
    )


def falcon(f: Fields) -> Shape:
    """Falcon (Almazrouei et al. 2023): 40B by group of heads, 7B one after the other, RW by head."""
    width = f.count("n_embed", "hidden_size")
    heads = f.count("num_attention_heads", "n_head")
    bias, is_new = f.flag("bias", default=False), f.flag("new_decoder_architecture", default=False)
    if is_new:
        kv_heads = groups = f.count("num_kv_heads", "n_head_kv", default=heads)
    elif f.flag("multi_query", default=True):
        kv_heads, groups = 1, 1
    else:
        kv_heads = groups = heads
    rows = width // heads * kv_heads
    beside = f.flag("parallel_attn", default=True)
    norms = f.count("num_ln_in_parallel_attn", default=2 if is_new else 1) if beside else 2
    return _shape(
        f,
        architecture="falcon",
        heads=heads,
        kv_heads=kv_heads,
        depth=f.count("num_hidden_layers", "n_layer"),
        fused=Linear(
            path="self_attention.query_key_value",
            roles=("q", "k", "v"),
            inputs=width,
            widths=(width, rows, rows),
            groups=groups,
            bias=bias,
        ),
        output=("self_attention.dense", bias),
        opening=("mlp.dense_h_to_4h", bias),
        closing=("mlp.dense_4h_to_h", bias),
        inner=f.count_if_given("ffn_hidden_size"),
        norms=2 * width * norms,
        final_norm=2 * width,
        context=f.count("max_position_embeddings", default=2048),
        parallel=is_new or beside,
    )


def gpt_bigcode(f: Fields) -> Shape:
    """SantaCoder and StarCoder (Allal et al. 2023): one key head behind the queries, or q, k and v by head."""
    width = f.count("n_embd", "hidden_size")
    heads = f.count("n_head", "num_attention_heads")
    kv_heads = 1 if f.flag("multi_query", default=True) else heads
    rows = width // heads * kv_heads
    context = f.count("n_positions", "max_position_embeddings", default=1024)
    return _shape(
        f,
        architecture="gpt_bigcode",
        heads=heads,
        kv_heads=kv_heads,
        depth=f.count("n_layer", "num_hidden_layers"),
        fused=Linear(
            path="attn.c_attn",
            roles=("q", "k", "v"),
            inputs=width,
            widths=(width, rows, rows),
            groups=kv_heads,
            bias=True,
        ),
        output=("attn.c_proj", True),
        opening=("mlp.c_fc", True),
        closing=("mlp.c_proj", True),
        inner=f.count_if_given("n_inner"),
        norms=4 * width,
        final_norm=2 * width,
        position_rows=context,
        context=context,
    )


def mpt(f: Fields) -> Shape:
    """MPT (MosaicML 2023): q, k and v one after the other, no biases, not in its norms either."""
    width = f.count("d_model", "hidden_size")
    return _shape(
        f,
        architecture="mpt",
        heads=f.count("n_heads", "num_attention_heads"),
        depth=f.count("n_layers", "num_hidden_layers"),
        fused=Linear(path="attn.Wqkv", roles=("q", "k", "v"), inputs=width, widths=(width,) * 3),
        output=("attn.out_proj", False),
        opening=("ffn.up_proj", False),
        closing=("ffn.down_proj", False),
        norms=2 * width,
        final_norm=width,
        layer_path="transformer.blocks.{layer}",
        context=f.count("max_seq_len", default=2048),
    )


def persimmon(f: Fields) -> Shape:
    """Persimmon (Adept 2023): each head's q, k and v stand together; its queries and keys are normed."""
    width, heads = f.count("hidden_size"), f.count("num_attention_heads")
    head_norms = 4 * (width // heads) if f.flag("qk_layernorm", default=True) else 0
    return _shape(
        f,
        architecture="persimmon",
        heads=heads,
        depth=f.count("num_hidden_layers"),
        fused=Linear(
            path="self_attn.query_key_value",
            roles=("q", "k", "v"),
            inputs=width,
            widths=(width,) * 3,
            groups=heads,
            bias=True,
        ),
        output=("self_attn.dense", True),
        opening=("mlp.dense_h_to_4h", True),
        closing=("mlp.dense_4h_to_h", True),
        inner=f.count("intermediate_size"),
        norms=4 * width + head_norms,
        final_norm=2 * width,
        layer_path="model.layers.{layer}",
        context=f.count_if_given("max_position_embeddings"),
        tied=False,
    )
