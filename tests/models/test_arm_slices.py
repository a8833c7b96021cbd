"""Several arms' adapters on one frozen product: values and gradients are those of each arm's own peft module."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from finetrial.models.kernels.arm_slices import ArmSlices, ArmSlicesLinear, RowMismatch, plain_slices_adapted

INPUTS, OUTPUTS, TOKENS = 12, 20, 5
RANKS, ALPHAS = {0: 2, 1: 9, 3: 4}, {0: 8, 1: 3, 3: 4}  # arm 2 has no adapter here


class Holder(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


def layers_on(base, dtype):
    """peft's module of each arm around the same frozen one, B not zero."""
    found = {}
    for arm, rank in RANKS.items():
        torch.manual_seed(arm)
        config = LoraConfig(
            r=rank, lora_alpha=ALPHAS[arm], target_modules=["layer"], fan_in_fan_out=isinstance(base, Conv1D)
        )
        layer = get_peft_model(Holder(base), config, autocast_adapter_dtype=False).base_model.model.layer
        nn.init.normal_(layer.lora_B["default"].weight)
        found[arm] = layer.to(dtype)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.Linear, Conv1D])
def test_each_slice_is_what_the_arms_own_module_gives(kind, dtype):
    torch.manual_seed(0)
    base = nn.Linear(INPUTS, OUTPUTS) if kind is nn.Linear else Conv1D(OUTPUTS, INPUTS)
    nn.init.normal_(base.bias)
    layers, slices = layers_on(base.to(dtype), dtype), ArmSlices()
    module = ArmSlicesLinear(layers, slices=slices)
    order = [1, 2, 3, 0]
    slices.set(order, tokens=TOKENS, total=TOKENS * 4 + 3)  # three tokens behind them are nobody's
    x = torch.randn(1, TOKENS * 4 + 3, INPUTS, dtype=dtype, requires_grad=True)
    up = torch.randn(1, TOKENS * 4 + 3, OUTPUTS, dtype=dtype)
    y = module(x)
    y.backward(up)
    with torch.no_grad():
        assert torch.allclose(module(x), y, atol=0.15 if dtype == torch.bfloat16 else 1e-5)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.15}
    seen = 0
    for place, arm in enumerate(order):
        rows = slice(place * TOKENS, (place + 1) * TOKENS)
        alone = x.detach()[:, rows].clone().requires_grad_()
        own = layers.get(arm)
        found = {} if own is None else {n: own.get_submodule(n)["default"].weight for n in ("lora_A", "lora_B")}
        grads = {name: parameter.grad.clone() for name, parameter in found.items()}
        for parameter in found.values():
            parameter.grad = None
        expected = (base if own is None else own)(alone)
        expected.backward(up[:, rows])
        assert torch.allclose(y[:, rows], expected, **close)
        assert torch.allclose(x.grad[:, rows], alone.grad, **close)
        for name, parameter in found.items():
            assert torch.allclose(grads[name], parameter.grad, **close), (arm, name)
            seen += 1
    assert seen == 6
    assert torch.allclose(y[:, 4 * TOKENS :], base(x[:, 4 * TOKENS :]), **close)


def test_the_plain_form_says_the_same_by_hand():
    # one token each: x = 2 and 3, W = 5, A = 7 and 1, B = 1 and 10, s = 1 and 0.5:
    # 2*5 + 2*7*1 = 24; 3*5 + 3*1*10*0.5 = 30
    one = torch.ones(1, 1)
    y = plain_slices_adapted(
        torch.tensor([[2.0], [3.0]]),
        weight_IO=5 * one,
        bias_O=None,
        rows=[slice(0, 1), slice(1, 2)],
        scalings=[1.0, 0.5],
        factors=[(7 * one, one), (one, 10 * one)],
    )
    assert y.flatten().tolist() == [24.0, 30.0]


def test_without_arms_it_is_the_frozen_product_and_other_tokens_are_refused():
    base = nn.Linear(INPUTS, OUTPUTS)
    slices = ArmSlices()
    module = ArmSlicesLinear(layers_on(base, torch.float32), slices=slices)
    x = torch.randn(1, 7, INPUTS)
    assert torch.equal(module(x), base(x))
    slices.set([0], tokens=6, total=6)
    with pytest.raises(RowMismatch, match="7 tokens of 6"):
        module(x)
    slices.set([2], tokens=6, total=6)  # no adapter acts, so that nobody's tokens matter
    assert torch.equal(module(x), base(x))
    slices.clear()
    assert torch.equal(module(x), base(x))
