"""Real transformers models to hold the counts against: on the meta device, or tiny on the CPU."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.pytorch_utils import Conv1D  # noqa: E402

torch.set_num_threads(1)


def real_model(config: dict, *, device: str = "meta", **more):
    """The transformers model of `config`; on the meta device nothing is allocated.

    transformers has no GPT-2 whose heads together are not as wide as the model (GPT-3 XL and 13B), so such a one is
    built with a head count it accepts, and its attention's Conv1D are exchanged for those of the paper's head size.
    """
    config = dict(config)
    rows = None
    if config["model_type"] == "gpt2" and "head_dim" in config:
        rows = config["n_head"] * config.pop("head_dim")
        config["n_head"] = 1
    built = transformers.AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(built, **more)
        if rows is not None:
            for block in model.transformer.h:
                block.attn.c_attn = Conv1D(3 * rows, built.n_embd)
                block.attn.c_proj = Conv1D(built.n_embd, rows)
    return model


def real_count(model, *, trainable: bool = False) -> int:
    """Parameters of the model, a tied matrix once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def tiny(kind: str, **more) -> dict:
    """A configuration of every architecture, small enough to run and odd enough that no two sizes are equal."""
    if kind in ("gpt2", "gpt_bigcode", "codegen"):
        base = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 40, "n_inner": 56}
    elif kind == "mpt":
        base = {"d_model": 24, "n_layers": 3, "n_heads": 4, "max_seq_len": 40}
    elif kind == "bloom":
        base = {"hidden_size": 24, "n_layer": 3, "n_head": 4}
    elif kind == "falcon":
        base = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_hidden_size": 56}
    elif kind == "opt":
        base = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 56}
        base |= {"word_embed_proj_dim": 24, "max_position_embeddings": 40}
    else:
        base = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 56}
        base |= {"max_position_embeddings": 40}
    if kind in ("phi", "persimmon"):
        base |= {"hidden_size": 32}  # half of each head is rotated, in pairs
    if kind == "codegen":
        base |= {"rotary_dim": 2}
    if kind.startswith(("gemma", "llama", "mi", "olmo", "phi", "qwen", "smol")):
        base |= {"num_key_value_heads": 2}
    if kind.startswith(("gemma", "qwen3")):
        base |= {"head_dim": 10}  # heads together wider than the model
    if kind.endswith("_moe"):
        base |= {"moe_intermediate_size": 20, "num_experts": 5, "num_experts_per_tok": 2, "mlp_only_layers": [1]}
    if kind == "qwen2_moe":
        base |= {"shared_expert_intermediate_size": 28}
    if kind == "mixtral":
        base |= {"num_local_experts": 5, "num_experts_per_tok": 2}
    ids = {} if kind in ("gpt2", "gpt_bigcode") else {"pad_token_id": 0}
    return {"model_type": kind, "vocab_size": 97, "bos_token_id": 1, "eos_token_id": 2, **ids, **base, **more}
