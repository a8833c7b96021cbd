"""Adapters count as PEFT's own on real models, and as Hu et al. 2021 count them on fused projections."""

from __future__ import annotations

import pytest
from real_models import real_count, real_model, tiny

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Matrices, lora_parameters, matrix_parameters, trained_parameters
from finetrial.footprint.beside import Lora
from finetrial.footprint.known_models import NAMED_MODELS
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.shapes import named_shape, shape_from_config
from finetrial.footprint.targets import matrices_of, resolve_targets, target_names

peft = pytest.importorskip("peft")


def peft_count(model, **lora) -> int:
    """What PEFT makes trainable with these settings on this model."""
    return real_count(peft.get_peft_model(model, peft.LoraConfig(**lora)), trainable=True)


@pytest.mark.parametrize(
    ("kind", "targets", "modules"),
    [
        ("gpt2", ["c_attn"], ["c_attn"]),
        ("gpt2", ["c_proj"], ["c_proj"]),  # of attention and of the MLP both
        ("gpt2", ["o", "up", "down"], ["attn.c_proj", "c_fc", "mlp.c_proj"]),
        ("llama", ["q", "v"], ["q_proj", "v_proj"]),  # grouped queries: v is narrower than q
        ("llama", ["gate", "up", "down"], ["gate_proj", "up_proj", "down_proj"]),
        ("llama", ["lm_head", "q"], ["lm_head", "q_proj"]),
        ("phi", ["q", "k", "v", "o", "up", "down"], ["q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"]),
        ("phi3", ["qkv_proj", "gate_up_proj"], ["qkv_proj", "gate_up_proj"]),
        ("gpt_neox", ["query_key_value", "o"], ["query_key_value", "attention.dense"]),
        ("opt", ["q", "o", "up"], ["q_proj", "out_proj", "fc1"]),
        ("mistral", ["k", "o"], ["k_proj", "o_proj"]),
        ("mixtral", ["q", "v"], ["q_proj", "v_proj"]),
        ("qwen2", ["q", "k", "v"], ["q_proj", "k_proj", "v_proj"]),  # the bases' biases are not adapted
        ("qwen3", ["q", "o"], ["q_proj", "o_proj"]),
        ("gemma3_text", ["q", "v", "down"], ["q_proj", "v_proj", "down_proj"]),
        ("gemma2", ["lm_head"], ["lm_head"]),  # tied: the adapter is the head's alone
    ],
)
def test_targets_count_as_pefts_own(kind, targets, modules):
    shape = shape_from_config(tiny(kind))
    count = lora_parameters(shape, rank=3, targets=targets)
    assert count.total == peft_count(real_model(tiny(kind)), r=3, target_modules=modules)
    assert sum(target.params for target in count.per_target) == count.total == count.active


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "qwen3_moe"])
def test_experts_have_an_adapter_each_as_in_peft(kind):
    shape = shape_from_config(tiny(kind))
    count = lora_parameters(shape, rank=3, targets=["experts.gate_up_proj", "experts.down_proj"])
    model = real_model(tiny(kind), device="cpu")
    names = ["experts.gate_up_proj", "experts.down_proj"]
    assert count.total == peft_count(model, r=3, target_modules=[], target_parameters=names)
    assert count.active * 5 == count.total * 2  # 2 of 5 experts


def test_a_role_reaches_dense_shared_and_expert_mlps_alike():
    shape = shape_from_config(tiny("qwen2_moe"))  # width 24; layer 1 dense of 56, the others 5 x 20 and shared 28
    targets = {t.linear.path: t for t in resolve_targets(shape, targets=["up"])}
    assert {path: t.layers for path, t in targets.items()} == {
        "mlp.experts.gate_up_proj": (0, 2),
        "mlp.shared_expert.up_proj": (0, 2),
        "mlp.up_proj": (1,),
    }
    # 2 layers x 5 experts x (24 + 20), 2 x (24 + 28), 1 x (24 + 56), at rank 1
    assert lora_parameters(shape, rank=1, targets=["up"]).total == 440 + 104 + 80
    assert targets["mlp.experts.gate_up_proj"].rows.start == 20 and not targets["mlp.experts.gate_up_proj"].whole


@pytest.mark.parametrize("name", ["llama-3-8b", "qwen3-0.6b", "gemma-2b", "phi-2", "mistral-7b", "qwen2-57b-a14b"])
def test_named_models_count_as_pefts_own_on_the_meta_device(name):
    count = lora_parameters(named_shape(name), rank=8, targets=["q", "v"])
    assert count.total == peft_count(
        real_model(NAMED_MODELS[name].config), r=8, target_modules=["q_proj", "v_proj"]
    )


def test_layers_can_be_chosen_as_in_peft():
    shape = shape_from_config(tiny("llama"))
    count = lora_parameters(shape, rank=3, targets=["q"], layers=[0, 2])
    model = real_model(tiny("llama"))
    assert count.total == peft_count(model, r=3, target_modules=["q_proj"], layers_to_transform=[0, 2])


def test_q_and_v_of_a_fused_matrix_are_adapters_of_their_own():
    gpt2 = named_shape("gpt2")
    # Each d -> d: 12 layers x 4 x (768 + 768), twice. The whole c_attn, d -> 3d: 12 x 4 x (768 + 2304).
    assert lora_parameters(gpt2, rank=4, targets=["q", "v"]).total == 147_456
    assert lora_parameters(gpt2, rank=4, targets=["q"]).total == 73_728
    assert lora_parameters(gpt2, rank=4, targets=["c_attn"]).total == 147_456
    q, v = resolve_targets(gpt2, targets=["q", "v"])
    assert (q.rows.start, v.rows.start, q.outputs, q.whole) == (0, 1536, 768, False)
    assert q.modules[11] == "transformer.h.11.attn.c_attn"


def test_a_fused_slice_starts_where_the_real_modules_rows_start():
    """Phi-3 with grouped queries: q has 4 heads, k and v have 2, of 6 rows each."""
    shape = shape_from_config(tiny("phi3"))
    targets = resolve_targets(shape, targets=["q", "k", "v"])
    assert [(t.rows.start, t.outputs) for t in targets] == [(0, 24), (24, 12), (36, 12)]


@pytest.mark.parametrize("name", ["gpt2", "phi-2", "qwen3-30b-a3b", "gemma-3-4b"])
def test_module_names_exist_in_the_real_model(name):
    shape = named_shape(name)
    modules = dict(real_model(NAMED_MODELS[name].config).named_modules())
    parameters = dict(real_model(NAMED_MODELS[name].config).named_parameters())
    names = [n for t in resolve_targets(shape, targets=["q", "o", "down", "lm_head"]) for n in t.modules]
    assert len(names) == 3 * shape.depth + 1
    assert all(n in modules or n in parameters for n in names)


class TestGpt3:
    """Hu et al. 2021 on GPT-3 175B, as REFERENCES has it."""

    shape = named_shape("gpt3-175b")

    def test_lora_of_rank_4_on_query_and_value(self):
        # 96 layers x 2 matrices x 4 x 2 x 12288 = 18,874,368 parameters of 2 bytes: 37,748,736 bytes.
        assert lora_parameters(self.shape, rank=4, targets=["q", "v"]).total * 2 == 37_748_736

    def test_query_alone_of_rank_8_weighs_the_same(self):
        assert lora_parameters(self.shape, rank=8, targets=["q"]).total * 2 == 37_748_736

    def test_only_the_query_and_value_matrices(self):
        assert matrix_parameters(self.shape, targets=["q", "v"]) * 2 == 2 * 12_288**2 * 96 * 2 == 57_982_058_496


def test_a_method_trains_what_it_says():
    shape = shape_from_config(tiny("llama"))
    assert trained_parameters(shape, method=Full()) == count_parameters(shape).total
    assert trained_parameters(shape, method=Matrices(targets=("q",))) == 3 * 24 * 24
    assert trained_parameters(shape, method=Lora(rank=2, targets=("q",), layers=(1,))) == 2 * (24 + 24)


def test_targets_that_exist_are_named():
    assert target_names(matrices_of(named_shape("gpt2"))) == (
        *("q", "k", "v", "o", "up", "down"),
        *("c_attn", "c_proj", "c_fc", "lm_head", "all-linear"),
    )
    assert target_names(matrices_of(shape_from_config(tiny("gpt_neox"))))[:4] == ("q", "k", "v", "o")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["gate"], "has no target 'gate'; expected some of q, k, v, o, up, down, c_attn"),
        (["q_proj"], "has no target 'q_proj'"),
        (["c_atn"], "Did you mean 'c_attn'"),
        (["q", "c_attn"], "two targets cover the same matrix attn.c_attn; got 'q' and 'c_attn'"),
        (["c_attn", "k"], "two targets cover the same matrix attn.c_attn; got 'c_attn' and 'k'"),
        (["all-linear", "v"], "two targets cover the same matrix"),
        ([], "no target is named"),
        ("qv", "no target is named"),
    ],
)
def test_a_wrong_target_is_one_line_that_names_what_exists(targets, message):
    with pytest.raises(UserError) as caught:
        resolve_targets(named_shape("gpt2"), targets=targets)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("rank", [0, -1, 2.0, True])
def test_an_invalid_rank_is_refused(rank):
    with pytest.raises(UserError, match="invalid LoRA rank"):
        lora_parameters(named_shape("gpt2"), rank=rank, targets=["q"])


def test_a_layer_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="no such layer; got 12; expected layers from 0 to 11"):
        lora_parameters(named_shape("gpt2"), rank=4, targets=["q"], layers=[3, 12])
