"""The fast GELU is GELU, in value and in gradient, at bfloat16 on a CPU and everywhere else."""

import pytest
import torch
import torch.nn.functional as F

from finetrial.models.kernels import activations as gelu
from finetrial.models.kernels.activations import tanh_gelu


@pytest.mark.parametrize("chunk", [1000, 1 << 20])
def test_bfloat16_value_and_gradient_are_a_rounding_from_exact(chunk, monkeypatch):
    monkeypatch.setattr(gelu, "_CHUNK", chunk)  # several chunks with a remainder, or one
    torch.manual_seed(0)
    x = torch.cat([torch.randn(57, 83) * 2, torch.linspace(-30, 30, 83)[None]]).bfloat16().requires_grad_()
    grad = torch.randn(58, 83).bfloat16()
    exact_x = x.detach().double().requires_grad_()
    exact = F.gelu(exact_x, approximate="tanh")
    (exact_grad,) = torch.autograd.grad(exact, exact_x, grad.double())
    found = tanh_gelu(x)
    (found_grad,) = torch.autograd.grad(found, x, grad)
    assert found.dtype == found_grad.dtype == torch.bfloat16
    # bfloat16 rounds by at most 2^-8 of the value (8 bits of significand); the gradient is a product of two rounded
    # factors, rounded. Near 0 float32's own rounding of 1 - s counts.
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(found_grad.double(), exact_grad, rtol=2**-7, atol=1e-6)


def test_float32_value_and_gradient_are_torchs_own():
    torch.manual_seed(0)
    x = torch.cat([torch.randn(64, 40) * 3, torch.linspace(-30, 30, 40)[None]]).requires_grad_()
    grad = torch.randn(65, 40)
    results = []
    for way in (tanh_gelu, gelu.plain_tanh_gelu):
        value = way(x)
        results.append((value.detach(), *torch.autograd.grad(value, x, grad)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
