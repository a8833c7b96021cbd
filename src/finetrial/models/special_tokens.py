"""Give new special tokens rows of the embedding, and train those rows beside an adapter.

New rows start at the mean embedding of the rows the tokenizer knew before, and so do the rows of an untied head. A
head with a bias keeps its rows: peft's adapter of single rows would lose the bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def fresh_tokens(
    tokenizer: PreTrainedTokenizerBase, *, base: PreTrainedTokenizerBase, special_tokens: Sequence[str]
) -> tuple[int, ...]:
    """The ids of the special tokens that the base's tokenizer did not have."""
    known = base.get_vocab()
    return tuple(sorted({cast(int, tokenizer.convert_tokens_to_ids(t)) for t in special_tokens if t not in known}))


def embedding_weight(model: PreTrainedModel) -> torch.Tensor:
    """The embedding's matrix [V, C]."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the head shares the embedding's matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def row_modules(model: PreTrainedModel) -> tuple[str, ...]:
    """The names of the modules whose new rows are trained: the embedding, and an untied head without bias."""
    names = {id(module): name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    rows = [names[id(embedding)]]
    if head is not None and not is_tied(model) and getattr(head, "bias", None) is None:
        rows.append(names[id(head)])
    return tuple(rows)


def _mean(rows: torch.Tensor) -> torch.Tensor:
    return rows.float().mean(dim=0).to(rows.dtype)


@torch.no_grad()
def prepare_rows(model: PreTrainedModel, *, tokens: int, fresh: Sequence[int], known: int) -> None:
    """Make room for `tokens` tokens and set the `fresh` rows to the mean of the first `known`.

    Room is never taken away: many models have more rows than their tokenizer has tokens. Rows that are made for
    room alone are the mean of the old ones, so that a reloaded arm has the same.
    """
    rows = embedding_weight(model).shape[0]
    if tokens > rows:
        model.resize_token_embeddings(tokens, mean_resizing=False)
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            for param in () if module is None else module.parameters(recurse=False):
                param[rows:] = _mean(param[:rows])
    if not fresh:
        return
    modules = dict(model.named_modules())
    for name in row_modules(model):
        weight = modules[name].weight
        weight[list(fresh)] = _mean(weight[: min(known, rows)])
