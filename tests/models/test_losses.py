"""The fused head loss equals torch's cross-entropy, in value and in every gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from finetrial.models.kernels import losses
from finetrial.models.kernels.losses import head_loss


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [7, 1000])
def test_value_and_gradients_equal_cross_entropy(bias, rows, monkeypatch):
    monkeypatch.setattr(losses, "_chunk_rows", lambda vocabulary, **_: rows)  # several chunks, or one
    torch.manual_seed(0)
    hidden = torch.randn(50, 16, requires_grad=True)
    weight = torch.randn(90, 16, requires_grad=True)
    offset = torch.randn(90, requires_grad=True) if bias else None
    labels = torch.randint(90, (50,))
    inputs = [x for x in (hidden, weight, offset) if x is not None]
    found = head_loss(hidden, weight_VC=weight, bias_V=offset, labels_M=labels, scale=0.02)
    expected = F.cross_entropy(F.linear(hidden, weight, offset), labels, reduction="sum") * 0.02
    torch.testing.assert_close(found, expected)
    mine, theirs = torch.autograd.grad(3 * found, inputs), torch.autograd.grad(3 * expected, inputs)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_sums_are_float32():
    torch.manual_seed(0)
    hidden = torch.randn(4000, 8).bfloat16()
    weight = torch.randn(50, 8).bfloat16()
    labels = torch.randint(50, (4000,))
    exact = F.cross_entropy(hidden.double() @ weight.double().t(), labels, reduction="sum")
    found = head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=labels)
    # Rounding the logits to bfloat16 moves each loss by at most 2^-8 of a logit and mostly cancels; a bfloat16 sum
    # of 4000 losses would stop growing near 1000.
    assert found.dtype == torch.float32
    assert abs(float(found) / float(exact) - 1) < 1e-3


def test_frozen_weights_get_no_gradient():
    hidden = torch.randn(5, 8, requires_grad=True)
    weight = torch.randn(20, 8)
    head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=torch.arange(5)).backward()
    assert weight.grad is None and hidden.grad is not None


def test_without_gradients_only_the_logits_are_made():
    hidden = torch.randn(30, 8, requires_grad=True)
    weight = torch.randn(20, 8, requires_grad=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=torch.arange(30) % 20)
    assert counted.get_total_flops() == 2 * 30 * 20 * 8  # as against three times that with both gradients
