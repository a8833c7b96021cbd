"""Measure a model's mean loss on given examples, in nats a trained token."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from finetrial.errors import UserError
from finetrial.models.batches import best_fit, inputs_of, pack, trained_tokens
from finetrial.models.forward import LossModel, probe
from finetrial.models.kernels.place import restore_modules
from finetrial.models.kernels.private_calls import attention_of, give_attention
from finetrial.models.library_calls import quiet
from finetrial.trial.examples import Encoded


def default_micro_tokens(device: torch.device) -> int:
    """Tokens of one forward pass. Assumption, to be replaced by measurement: a CPU's caches, a GPU's width."""
    return 2048 if device.type == "cpu" else 16384


def rows_of(model: LossModel, examples: Sequence[Encoded], *, micro_tokens: int) -> list[tuple[int, ...]]:
    """The places of the examples that carry loss, as they pass forward together."""
    chosen = [i for i, example in enumerate(examples) if trained_tokens(example)]
    lengths = [len(example.token_ids) for example in examples]
    return best_fit(chosen, lengths=lengths, capacity=micro_tokens if model.packed else 1)


@torch.no_grad()
def loss_of(model: LossModel, examples: Sequence[Encoded], *, micro_tokens: int) -> float | None:
    """The mean over all trained tokens of the examples; None when there is none."""
    count = sum(map(trained_tokens, examples))
    if not count:
        return None
    device = model.base.device
    total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    for row in rows_of(model, examples, micro_tokens=micro_tokens):
        total += model.loss(model.bring(pack([examples[i] for i in row])), scale=1.0)
    return float(total) / count


@torch.no_grad()
def nats_of(
    model: PreTrainedModel, examples: Sequence[Encoded], *, micro_tokens: int | None = None
) -> tuple[float, ...]:
    """Minus the log-likelihood of the trained tokens of each example, in nats; 0 where it has none.

    The model is left as it was found.
    """
    with measuring(model) as loss_model:
        return row_nats(loss_model, examples, micro_tokens=micro_tokens or default_micro_tokens(model.device))


@torch.no_grad()
def row_nats(model: LossModel, examples: Sequence[Encoded], *, micro_tokens: int) -> tuple[float, ...]:
    """The same of a model in eval mode that was probed before."""
    chosen = [i for i, example in enumerate(examples) if trained_tokens(example)]
    lengths = [len(example.token_ids) for example in examples]
    found = [0.0] * len(examples)
    for places in best_fit(chosen, lengths=lengths, capacity=micro_tokens if model.packed else 1):
        row = sorted(places, key=lambda i: -inputs_of(examples[i]))  # the order of a packed row
        losses_M = model.token_losses(model.bring(pack([examples[i] for i in row]))).cpu().double()
        for i, part in zip(row, losses_M.split([trained_tokens(examples[i]) for i in row]), strict=True):
            found[i] = float(part.sum())
    return tuple(found)


@contextlib.contextmanager
def measuring(model: PreTrainedModel) -> Iterator[LossModel]:
    """The model probed and in eval mode, to measure losses with; afterwards it is as it was found."""
    training, attention = model.training, attention_of(model)
    model.eval()
    try:
        with quiet():
            yield probe(model)
    finally:
        restore_modules(model)
        give_attention(model, attention)
        model.train(training)


def mean_loss(model: PreTrainedModel, encoded: Sequence[Encoded], *, micro_tokens: int | None = None) -> float:
    """The mean loss of a model that is not being tuned. It is left as it was found."""
    if not any(trained_tokens(example) for example in encoded):
        raise UserError("the loss is undefined", got="no trained token in these examples")
    with measuring(model) as loss_model:
        found = loss_of(loss_model, encoded, micro_tokens=micro_tokens or default_micro_tokens(model.device))
    assert found is not None
    return found
