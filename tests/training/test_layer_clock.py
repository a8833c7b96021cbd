"""A layer's seconds are told from the rest of a pass, forward, backward and where layers are computed again."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from finetrial.training import layer_clock
from finetrial.training.layer_clock import LayerClock

FORWARD, BACKWARD, HEAD = 3.0, 5.0, 100.0


class HandClock:
    """A clock that goes on when the model's parts say so, and not otherwise."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Takes(nn.Module):
    """Passes its input on and lets the clock go on, forward and backward."""

    def __init__(self, part: nn.Module, clock: HandClock, *, forward: float, backward: float) -> None:
        super().__init__()
        self.part, self.clock, self.seconds = part, clock, (forward, backward)

    def forward(self, *inputs, **named):
        clock, (forward, backward) = self.clock, self.seconds

        class Tick(torch.autograd.Function):
            @staticmethod
            def forward(context, hidden):
                clock.now += forward
                context.save_for_backward(hidden)  # so that computing it again gets as far as here
                return hidden.clone()

            @staticmethod
            def backward(context, gradient):
                assert context.saved_tensors
                clock.now += backward
                return gradient

        return Tick.apply(self.part(*inputs, **named))


@pytest.fixture
def clock(monkeypatch) -> HandClock:
    made = HandClock()
    monkeypatch.setattr(layer_clock, "time", made)
    return made


def model_with(clock: HandClock, *, layers: int = 3):
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        use_cache=False,
    )
    model = AutoModelForCausalLM.from_config(config)
    for layer in model.model.layers:
        layer.mlp = Takes(layer.mlp, clock, forward=FORWARD, backward=BACKWARD)
    model.lm_head = Takes(model.lm_head, clock, forward=HEAD, backward=HEAD)
    return model


def one_pass(model, clock: LayerClock, *, backward: bool = True) -> None:
    clock.begin_pass()
    loss = model(torch.arange(8)[None]).logits.sum()
    if backward:
        loss.backward()


def test_a_layer_takes_its_forward_and_its_backward_seconds_and_none_of_the_heads(clock):
    model = model_with(clock)
    with LayerClock.of(model) as layers:
        one_pass(model, layers)
    assert layers.layer_seconds() == FORWARD + BACKWARD
    assert clock.now == 3 * (FORWARD + BACKWARD) + 2 * HEAD


def test_a_layer_that_is_computed_again_takes_its_forward_seconds_twice(clock):
    model = model_with(clock)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    with LayerClock.of(model) as layers:
        one_pass(model, layers)
        one_pass(model, layers)
    assert layers.layer_seconds() == 2 * (FORWARD + BACKWARD + FORWARD)


def test_without_gradients_a_layer_takes_its_forward_seconds(clock):
    model = model_with(clock)
    with LayerClock.of(model) as layers, torch.no_grad():
        one_pass(model, layers, backward=False)
    assert layers.layer_seconds() == FORWARD


def test_the_first_layer_counts_for_nothing_where_its_input_needs_no_gradient(clock):
    model = model_with(clock)
    model.requires_grad_(False)
    for layer in model.model.layers:
        layer.self_attn.q_proj.requires_grad_(True)
    with LayerClock.of(model) as layers:
        one_pass(model, layers)
    assert layers.layer_seconds() == FORWARD + BACKWARD


def test_outside_its_context_nothing_is_heard(clock):
    model = model_with(clock)
    layers = LayerClock.of(model)
    one_pass(model, layers)
    assert layers.layer_seconds() is None


def test_a_single_layer_cannot_be_told_apart(clock):
    assert LayerClock.of(model_with(clock, layers=1)) is None
