"""What torch has under private names alone, beside the public way that stands in for it."""

import pytest
import torch

from finetrial.models.kernels import private_calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_softmax_equals_what_autograd_makes(dtype):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64).requires_grad_()
    grad = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    probabilities = scores.softmax(dim=-1)
    (expected,) = torch.autograd.grad(probabilities, scores, grad)
    near = {torch.float32: 1e-6, torch.bfloat16: 2e-2}[dtype]
    for way in (private_calls.softmax_gradient, private_calls.plain_softmax_gradient):
        found = way(grad.to(dtype), probabilities.detach().to(dtype))
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)


@pytest.mark.parametrize("factor", [0.5, torch.tensor(0.25)])
def test_tensors_are_multiplied_and_copied_alike_together_and_one_by_one(factor):
    before = [torch.arange(6.0), torch.ones(2, 3)]
    for multiply in (private_calls.multiply_each, private_calls.plain_multiply_each):
        tensors = [x.clone() for x in before]
        multiply(tensors, factor)
        assert all(torch.equal(x, y * factor) for x, y in zip(tensors, before, strict=True))
    values = [torch.full((6,), 1 + 2**-12), torch.zeros(2, 3)]  # 1 + 2^-12 is 1 at bfloat16
    for copy in (private_calls.copy_each, private_calls.plain_copy_each):
        places = [torch.empty(6, dtype=torch.bfloat16), torch.empty(2, 3)]
        copy(places, values)
        assert torch.equal(places[0], torch.ones(6, dtype=torch.bfloat16)) and torch.equal(places[1], values[1])
