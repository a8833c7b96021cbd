"""DoRA on GPT-2's fused projections is DoRA on q and on v, each alone."""

import pytest
import torch
from tiny_models import FAMILIES

from finetrial.methods.halves import half_of
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.torch_half import trained


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_fused_dora_equals_the_formula_on_each_slice(rank_stabilised):
    # Liu et al. 2024, equation 5: W' = m (W + s B A) / |W + s B A|, one magnitude m and one norm per output, so q's
    # slice and v's never meet, and k's, whose m is its own norm, stays. Written out by hand for x W' + b.
    cls, config = FAMILIES["gpt2"]
    torch.manual_seed(0)
    model = cls(config).eval()
    plain = model.transformer.h[0].attn.c_attn
    setting = Lora(rank=3, targets=("q", "v"), alpha=12.0, dora=True, rank_stabilised=rank_stabilised)
    adapters = half_of(setting).attach(model, method=setting, fresh=(), seed=0, dtype=torch.float32)
    layer = model.transformer.h[0].attn.c_attn
    b, m = layer.lora_B["default"].weight, layer.lora_magnitude_vector["default"].weight
    places = {id(p): i for i, p in enumerate(trained(adapters.model))}
    with torch.no_grad():
        b.copy_(torch.randn(96, 6) * adapters.masks[places[id(b)]])
        m.mul_(1 + torch.rand_like(m) * adapters.masks[places[id(m)]])
    a, x = layer.lora_A["default"].weight, torch.randn(5, 32)
    scale = 12.0 / 3**0.5 if rank_stabilised else 12.0 / 3
    with torch.no_grad():
        bias, weight = plain.bias, plain.weight  # [inputs, outputs]
        expected = x @ weight + bias
        for rows, ranks in ((slice(0, 32), slice(0, 3)), (slice(64, 96), slice(3, 6))):
            moved = weight[:, rows] + scale * (b[rows, ranks] @ a[ranks]).t()
            expected[:, rows] = x @ (m.flatten()[rows] * moved / moved.norm(dim=0)) + bias[rows]
        found = layer(x)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found - (x @ weight + bias))[:, :32].abs().max() > 0.1
