"""What may be packed, fused or replaced is decided in float32, on the model's own weights, layer kind by kind."""

import copy

import pytest
import torch
from tiny_models import FAMILIES
from torch import nn
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from finetrial.models.forward import probe
from finetrial.models.kernels import attention, block_products
from finetrial.models.kernels.float32_copy import chosen_layers, float32_copy
from finetrial.models.kernels.place import Kernel, always, install_kernels, placed, restore_modules

GEMMA3 = Gemma3TextConfig(
    vocab_size=99,
    hidden_size=32,
    num_hidden_layers=8,
    num_attention_heads=4,
    num_key_value_heads=1,
    head_dim=8,
    intermediate_size=48,
    sliding_window=512,
)


def gemma3():
    torch.manual_seed(0)
    return Gemma3ForCausalLM(GEMMA3).eval()


def path(found, name):
    return next(p for p in found.fast_paths if p.name == name)


def test_every_kind_of_layer_is_compared_and_the_model_is_left_as_it_was():
    model = gemma3()
    assert GEMMA3.layer_types.index("full_attention") == 5
    layers = list(model.model.layers)
    assert chosen_layers(model.model.layers) == [0, 1, 5]
    before = {name: p.clone() for name, p in model.bfloat16().state_dict().items()}
    wide = float32_copy(model, head=(model.lm_head.weight, None))
    assert len(wide.model.layers) == wide.config.num_hidden_layers == 3
    assert wide.config.layer_types == ["sliding_attention", "sliding_attention", "full_attention"]
    assert wide.model.layers[0].self_attn.q_proj.weight.dtype == torch.float32
    assert list(model.model.layers) == layers and model.config.num_hidden_layers == 8
    assert model.model.layers[0].self_attn.sliding_window == 512
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Unreadable(str):
    def __repr__(self):
        raise AttributeError("no words for it")


def test_a_small_model_whose_layers_cannot_be_told_apart_is_copied_with_all_of_them():
    model = gemma3()
    model.model.layers[1].odd = Unreadable("odd")
    with pytest.raises(AttributeError):
        chosen_layers(model.model.layers)
    wide = float32_copy(model, head=(model.lm_head.weight, None))
    assert len(wide.model.layers) == len(model.model.layers) == 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gemma3_with_its_windows_is_packed(dtype):
    found = probe(gemma3().to(dtype))
    assert found.packed and found.fused, found.fast_paths


def test_a_window_that_is_forgotten_is_seen_though_no_probe_is_as_long(monkeypatch):
    attend = block_products.block_products
    monkeypatch.setattr(attention, "block_products", lambda *args, window=None, **rest: attend(*args, **rest))
    found = probe(gemma3())
    assert not found.packed
    assert "other hidden states" in path(found, "packed rows").reason


def test_large_rounding_at_bfloat16_does_not_turn_packing_off():
    """Weights as unlike each other as a trained model's: bfloat16 packed and alone differ by more than 0.08."""
    torch.manual_seed(0)
    cls, config = FAMILIES["llama"]
    config = copy.deepcopy(config)
    config.num_hidden_layers = 6
    model = cls(config).eval()
    with torch.no_grad():
        for param in model.parameters():
            if param.ndim > 1:
                param.mul_(40)
    model.bfloat16()
    found = probe(model)
    assert found.packed and found.fused
    ids = torch.randint(config.vocab_size, (14,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        narrow = model(ids[None], use_cache=False, block_runs=((1, 14),)).logits.float()
        wide = copy.deepcopy(model).float()(ids[None], use_cache=False, block_runs=((1, 14),)).logits
    assert (narrow - wide).norm() / wide.norm() > 0.08


class Doubling(nn.Module):
    """Named like a GELU, and none."""

    def forward(self, x):
        return 2 * x


def test_a_module_is_not_replaced_for_its_name():
    torch.manual_seed(0)
    cls, config = FAMILIES["gpt2"]
    model = cls(config).bfloat16().eval()
    Doubling.__name__ = "DoublingGELU"
    for block in model.transformer.h:
        block.mlp.act = Doubling()
    record = path(probe(model), "tanh-GELU")
    assert not record.on and "differs from the model's own" in record.reason
    assert not any(placed(block.mlp.act) for block in model.transformer.h)


def test_a_kernel_that_is_wrong_in_its_gradient_alone_is_not_put_in_place_and_a_right_one_travels_with_copies():
    class Square(nn.Module):
        def forward(self, x):
            return x * x

    kernel = Kernel(
        "square",
        cannot=lambda device, dtype: None,
        fast=lambda module: (lambda self, x: x * x.detach()) if isinstance(module, Square) else None,
        inputs=lambda module, generator: ((torch.randn(5, generator=generator),), {}),
        when=always,
    )
    model = nn.Sequential(Square(), nn.Linear(2, 2))
    where = {"device": torch.device("cpu"), "dtype": torch.float32}
    (record,) = install_kernels(model, wide=copy.deepcopy(model), kernels=(kernel,), **where)
    assert not record.on and record.reason.endswith("in gradient")
    right = Kernel(
        "square",
        kernel.cannot,
        lambda m: (lambda self, x: x**2) if isinstance(m, Square) else None,
        kernel.inputs,
        always,
    )
    (record,) = install_kernels(model, wide=copy.deepcopy(model), kernels=(right,), **where)
    assert record.on and record.reason == "1 of Square"
    other = copy.deepcopy(model)
    assert placed(other[0]) == "square" and other[0].forward.module is other[0]
    restore_modules(other)
    assert placed(other[0]) is None and placed(model[0]) == "square"


def test_every_path_says_whether_it_is_on_and_why():
    found = probe(gemma3())
    names = [p.name for p in found.fast_paths]
    assert len(names) == len(set(names)) and {"packed rows", "attention by blocks", "loss without logits"} <= set(
        names
    )
    assert all(p.reason for p in found.fast_paths)
