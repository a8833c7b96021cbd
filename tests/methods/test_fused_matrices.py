"""Targets inside matrices that hold q, k and v: exactly those rows train, wherever an architecture keeps them."""

from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import make_examples
from tiny_tokenizers import byte_level
from transformers import AutoConfig, AutoModelForCausalLM

from finetrial.footprint.adapters import lora_parameters, matrix_parameters, trained_parameters
from finetrial.footprint.shapes import shape_from_config
from finetrial.methods.full.full_method import Full
from finetrial.methods.halves import half_of
from finetrial.methods.ia3.ia3_method import IA3
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.model_targets import targeted_modules
from finetrial.methods.torch_half import Part, Where
from finetrial.methods.vera.vera_method import Vera
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask

_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_NEOX = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64}
MODELS = {  # width 32, four heads of 8
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "codegen": {"model_type": "codegen", "rotary_dim": 4, **_GPT},
    "falcon of 7B": {"model_type": "falcon", **_FALCON},
    "falcon of 40B": {"model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2, **_FALCON},
    "falcon RW": {
        "model_type": "falcon",
        "multi_query": False,
        "parallel_attn": False,
        "alibi": True,
        "bias": True,
        **_FALCON,
    },
    "gpt2": {"model_type": "gpt2", **_GPT},
    "gpt_bigcode": {"model_type": "gpt_bigcode", **_GPT},
    "gpt_bigcode of many keys": {"model_type": "gpt_bigcode", "multi_query": False, **_GPT},
    "gpt_neox": {"model_type": "gpt_neox", **_NEOX},
    "mpt": {"model_type": "mpt", "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "persimmon": {"model_type": "persimmon", "max_position_embeddings": 64, **_NEOX},
    "phi3": {"model_type": "phi3", "num_key_value_heads": 2, "max_position_embeddings": 64, **_NEOX},
}
IDS = torch.arange(1, 21)[None]


def config_of(name):
    fields = dict(MODELS[name])
    return AutoConfig.for_model(
        fields.pop("model_type"),
        vocab_size=len(byte_level()),
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        **fields,
    )


def made(name, folder=None):
    """The model with larger weights than usual, saved where a folder is given."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(name)).eval()
    with torch.no_grad():
        for param in model.parameters():
            if param.ndim > 1:
                param.mul_(4)
    if folder is not None:
        model.save_pretrained(folder)
        byte_level().save_pretrained(folder)
    return model


def cached(model):
    """The keys and values of the first layer as the model itself cuts them out of its fused matrix."""
    with torch.no_grad():
        outputs = model(IDS, use_cache=True)
    cache = getattr(outputs, "cache", None) if "cache" in outputs else outputs.past_key_values
    return cache.layers[0].keys, cache.layers[0].values


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("role", ["q", "k", "v"])
def test_a_role_s_rows_are_those_that_the_model_reads_for_it(name, role):
    """Other weights in the rows of k move the cached keys alone, of v the values alone, of q neither."""
    model = made(name)
    fused = next(one for one in targeted_modules(model, targets=(role,)) if ".0." in one.name)
    (rows,) = fused.blocks
    dimension = 1 if model.config.model_type == "gpt2" else 0
    before, answer = cached(model), model(IDS).logits
    weight = model.get_submodule(fused.name).weight
    with torch.no_grad():
        part = Part.of_rows(rows, dimension=dimension).of(weight)
        part.copy_(torch.randn_like(part))
    after = cached(model)
    moved = [not torch.equal(old, new) for old, new in zip(before, after, strict=True)]
    assert moved == [role == "k", role == "v"]
    assert not torch.equal(model(IDS).logits, answer)
    covered = sum(r.count for one in "qkv" for t in targeted_modules(model, targets=(one,))[:1] for r in t.blocks)
    assert covered == fused.outputs


def task_of(name, tmp_path, method, **more):
    base = tmp_path / "base"
    made(name, base)
    return TuneTask(
        model=str(base),
        train=make_examples(16),
        folder=tmp_path / "arm",
        method=method,
        batch_tokens=200,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
        **more,
    )


def unchanged_rows(old, new, module, *, dimension):
    """Assert that the targets' rows moved and the others kept every bit."""
    left = torch.ones_like(old, dtype=torch.bool)
    for rows in module.blocks:
        part = Part.of_rows(rows, dimension=dimension)
        assert not torch.equal(part.of(old), part.of(new))
        part.of(left).fill_(False)
    assert left.any() and torch.equal(old[left], new[left])


@pytest.mark.parametrize("name", list(MODELS))
def test_lora_on_q_and_v_trains_those_rows_and_stock_peft_merges_them_alone(name, tmp_path):
    method = Lora(rank=2, targets=("q", "v"), alpha=8.0)
    task = task_of(name, tmp_path, method)
    measured = tune(task)
    shape = shape_from_config(config_of(name).to_dict())
    assert measured.trained_parameters == lora_parameters(shape, rank=2, targets=("q", "v")).total
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    modules = targeted_modules(base, targets=("q", "v"))
    stock = PeftModel.from_pretrained(base, task.folder).eval()
    with torch.no_grad():
        unmerged = stock(IDS).logits
    merged = stock.merge_and_unload()
    fused = {f"{one.name}.weight": one for one in modules}
    assert len(fused) == 2
    for key, value in merged.state_dict().items():
        if key in fused:
            unchanged_rows(before[key], value, fused[key], dimension=1 if "gpt2" in name else 0)
        else:
            assert torch.equal(value, before[key]), key
    ours = half_of(method).load(method, Where(base=task.model, dtype=torch.float32), folder=task.folder).model
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS).logits, unmerged, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["bloom", "codegen", "falcon of 40B", "gpt_bigcode", "gpt_neox"])
def test_full_tuning_of_q_and_v_moves_and_stores_those_rows_alone(name, tmp_path):
    method = Full(targets=("q", "v"))
    task = task_of(name, tmp_path, method)
    measured = tune(task)
    shape = shape_from_config(config_of(name).to_dict())
    counted = matrix_parameters(shape, targets=("q", "v"))
    stored = load_file(task.folder / "tuned_matrices.safetensors")
    assert measured.trained_parameters == counted == sum(value.numel() for value in stored.values())
    before = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    after = half_of(method).load(method, Where(base=task.model, dtype=torch.float32), folder=task.folder).model
    fused = {f"{one.name}.weight": one for one in targeted_modules(before, targets=("q", "v"))}
    for key, value in after.state_dict().items():
        if key in fused:
            unchanged_rows(before.state_dict()[key], value, fused[key], dimension=0)
        else:
            assert torch.equal(value, before.state_dict()[key]), key


@pytest.mark.parametrize(
    "method", [IA3(targets=("k", "v", "down")), Vera(rank=4, targets=("q", "v")), Lora(rank=2, dora=True)]
)
@pytest.mark.parametrize("name", ["falcon of 40B", "gpt_neox"])
def test_other_methods_leave_the_rows_between_as_they_were(name, method, tmp_path):
    task = task_of(name, tmp_path, method)
    measured = tune(task)
    shape = shape_from_config(config_of(name).to_dict())
    base = AutoModelForCausalLM.from_pretrained(task.model, dtype=torch.float32)
    before = {key: value.clone() for key, value in base.state_dict().items()}
    modules = [one for one in targeted_modules(base, targets=method.named_targets) if not one.whole]
    merged = half_of(method).load(method, Where(base=task.model, dtype=torch.float32), folder=task.folder).model
    assert len(modules) == 2
    for one in modules:
        unchanged_rows(before[f"{one.name}.weight"], merged.get_submodule(one.name).weight, one, dimension=0)
    if not getattr(method, "dora", False):
        assert measured.trained_parameters == trained_parameters(shape, method=method.counted())


def test_several_names_of_one_projection_are_one_target(tmp_path):
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "llama",
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            vocab_size=50,
        )
    )
    once = targeted_modules(model, targets=("q", "v"))
    for names in (("q", "q_proj", "v"), ("self_attn.q_proj", "q", "v_proj", "v"), ("q", "q", "v", "q_proj")):
        assert targeted_modules(model, targets=names) == once
    shape = shape_from_config(model.config.to_dict())
    counted = [lora_parameters(shape, rank=3, targets=t).total for t in (["q"], ["q", "q_proj"])]
    assert counted == [2 * 3 * (32 + 32)] * 2
    everything = targeted_modules(model, targets=("all-linear",))
    assert targeted_modules(model, targets=("all-linear", "q_proj", "down")) == everything
