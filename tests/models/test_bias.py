"""A bias that is added last is the same bias, in values, gradients and names."""

import torch
from tiny_models import FAMILIES
from transformers.pytorch_utils import Conv1D

from finetrial.models.forward import probe
from finetrial.models.kernels.linear import bias_last
from finetrial.models.kernels.place import placed


def test_values_and_gradients_are_a_rounding_from_the_fused_form():
    torch.manual_seed(0)
    fused, last = Conv1D(48, 32).bfloat16(), Conv1D(48, 32).bfloat16()
    torch.nn.init.normal_(fused.bias)
    last.load_state_dict(fused.state_dict())
    x = torch.randn(1, 70, 32).bfloat16().requires_grad_()
    grad = torch.randn(1, 70, 48).bfloat16()
    exact = x.double() @ fused.weight.double() + fused.bias.double()
    bound = 2**-8 * ((x.double() @ fused.weight.double()).abs() + exact.abs()) + 1e-6  # each is rounded once
    assert ((bias_last(last, x).double() - exact).abs() <= bound).all()
    fused(x).backward(grad)
    bias_last(last, x).backward(grad)
    torch.testing.assert_close(last.weight.grad, fused.weight.grad)
    torch.testing.assert_close(last.bias.grad, fused.bias.grad)


def test_without_gradients_it_is_the_fused_form_bit_for_bit():
    torch.manual_seed(0)
    cls, config = FAMILIES["gpt2"]
    model = cls(config).bfloat16().eval()
    ids = torch.randint(config.vocab_size, (1, 20))
    with torch.no_grad():
        before = model(input_ids=ids).logits
        names = list(model.state_dict())
        own = model.config._attn_implementation
        probe(model)
        model.set_attn_implementation(own)
        assert sum(placed(m) == "Conv1D's bias last" for m in model.modules()) == 4 * config.n_layer
        assert torch.equal(model(input_ids=ids).logits, before)
    assert list(model.state_dict()) == names
