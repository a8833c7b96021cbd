"""Gradients summed in the masters are the gradients autograd sums, only in float32."""

import pytest
import torch
import torch.nn.functional as F
from tiny_models import FAMILIES
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

from finetrial.models.batches import MicroBatch, pack
from finetrial.models.forward import head_weights, probe
from finetrial.models.kernels import losses
from finetrial.models.kernels.gradients import GradientSum, sum_rows
from finetrial.models.kernels.losses import head_loss
from finetrial.models.kernels.place import placed
from finetrial.training.optimizer import MasterOptimizer
from finetrial.trial.examples import Encoded


def master_of(param: torch.Tensor) -> torch.Tensor:
    return param.detach().float().requires_grad_()


def test_parts_of_every_kind_add_up_and_a_fresh_sum_starts_from_nothing():
    master = torch.zeros(5, 2, requires_grad=True)
    total = GradientSum(master)
    for _ in range(2):  # the second time in the same buffer, which must not remember the first
        total.add_rows(torch.tensor([3, 1, 3]), torch.tensor([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]))
        assert master.grad.tolist() == [[0, 0], [3, 4], [0, 0], [11, 22], [0, 0]]
        total.add_slices((slice(i, i + 2), torch.full((min(2, 5 - i), 2), float(i))) for i in (0, 2, 4))
        assert master.grad.tolist() == [[0, 0], [3, 4], [2, 2], [13, 24], [4, 4]]
        total.add(torch.ones(5, 2).bfloat16())
        assert master.grad.tolist() == [[1, 1], [4, 5], [3, 3], [14, 25], [5, 5]]
        buffer, master.grad = master.grad, None
    total.add_slices(iter([(slice(0, 5), torch.ones(5, 2))]))
    assert master.grad is buffer and master.grad.tolist() == [[1, 1]] * 5


def test_rows_are_summed_in_float32():
    master = torch.zeros(1, 1, requires_grad=True)
    GradientSum(master).add_rows(torch.zeros(1000, dtype=torch.long), torch.ones(1000, 1).bfloat16())
    assert master.grad.item() == 1000  # a bfloat16 sum of ones stops at 256


@pytest.mark.parametrize("rows", [7, 1000])
@pytest.mark.parametrize("words", [32, 4096])
def test_the_heads_gradient_equals_autograds(rows, words, monkeypatch):
    monkeypatch.setattr(losses, "_chunk_rows", lambda vocabulary, **_: rows)
    monkeypatch.setattr(losses, "_SLICE_ROWS", words)
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 16, requires_grad=True), torch.randn(90, 16, requires_grad=True)
    labels = torch.randint(90, (50,))
    master = master_of(weight)
    head_loss(
        hidden, weight_VC=weight, bias_V=None, labels_M=labels, scale=0.5, weight_sum=GradientSum(master)
    ).backward()
    expected = 0.5 * F.cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    hidden_grad, weight_grad = torch.autograd.grad(expected, (hidden, weight))
    torch.testing.assert_close(master.grad, weight_grad)
    torch.testing.assert_close(hidden.grad, hidden_grad)
    assert weight.grad is None


def test_a_loss_without_gradients_adds_nothing():
    weight = torch.randn(20, 8, requires_grad=True)
    master = master_of(weight)
    embedding = nn.Embedding(20, 8)
    sum_rows(embedding, GradientSum(master))
    with torch.no_grad():
        hidden = embedding(torch.arange(5))
        head_loss(hidden, weight_VC=weight, bias_V=None, labels_M=torch.arange(5), weight_sum=GradientSum(master))
    assert master.grad is None


@pytest.mark.parametrize("family", ["gpt2", "llama"])  # tied to the head, and apart from it
def test_a_models_masters_get_autograds_gradients(family):
    cls, config = FAMILIES[family]
    torch.manual_seed(0)
    model = cls(config).eval()
    ids = tuple(int(i) for i in torch.randint(config.vocab_size, (24,)))
    batch: MicroBatch = pack([Encoded("a", ids, (False,) * 4 + (True,) * 20)])
    probe(model).loss(batch, scale=0.1).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)

    embedding, head = model.get_input_embeddings(), head_weights(model)[0]
    masters = {id(p): master_of(p) for p in (embedding.weight, head)}
    sums = {key: GradientSum(master) for key, master in masters.items()}
    assert sum_rows(embedding, sums[id(embedding.weight)]).on
    assert placed(embedding)
    hidden = model.get_decoder()(torch.tensor([ids[:-1]])).last_hidden_state[0]
    labels = torch.tensor(ids[4:])
    found = head_loss(
        hidden[3:], weight_VC=head, bias_V=None, labels_M=labels, scale=0.1, weight_sum=sums[id(head)]
    )
    found.backward()
    for name, param in model.named_parameters():
        grad = masters[id(param)].grad if id(param) in masters else param.grad
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-6)
    assert embedding.weight.grad is None and head.grad is None


def test_only_narrow_parameters_have_a_sum():
    wide, narrow = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2).bfloat16())
    optimizer = MasterOptimizer([wide, narrow], name="adamw", betas=(0.9, 0.999), weight_decay=0.0)
    assert optimizer.sum_of(wide) is None
    (narrow * 3).sum().backward()
    assert narrow.grad is None and optimizer.masters[1].grad.tolist() == [[3, 3], [3, 3]]
    assert optimizer.sum_of(narrow) is not None


class Twice(nn.Embedding):
    def forward(self, input):
        return super().forward(input) * 2


def test_a_scaled_embedding_and_a_padding_row_are_summed_as_autograd_does_and_another_kind_is_left_alone():
    scaled = Gemma3TextScaledWordEmbedding(20, 8, 3, embed_scale=8**0.5)
    ids, upstream = torch.tensor([[1, 3, 5, 1]]), torch.randn(1, 4, 8)
    scaled(ids).backward(upstream)
    expected, scaled.weight.grad = scaled.weight.grad.clone(), None
    assert expected[3].abs().sum() == 0 and expected[1].abs().sum() > 0
    master = master_of(scaled.weight)
    assert sum_rows(scaled, GradientSum(master)).on
    scaled(ids).backward(upstream)
    torch.testing.assert_close(master.grad, expected)
    assert scaled.weight.grad is None
    record = sum_rows(Twice(20, 8), GradientSum(torch.zeros(20, 8, requires_grad=True)))
    assert not record.on and "does more" in record.reason
