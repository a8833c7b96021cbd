"""Compute a model's logits by its own code alone: one sequence, no padding, no cache, nothing packed.

What is faster is held against this. It also serves a model that can be computed in no other way, and one whose
adapter is a learned prompt, which stands before the tokens and in none of the modules.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

AnyModel = PreTrainedModel | PeftModel


def has_learned_prompt(model: AnyModel) -> bool:
    """Whether an adapter of the model is tokens that were learned: its logits are those of the wrapper alone."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def plain_model(model: AnyModel) -> PreTrainedModel:
    """The transformers model, its adapters in place."""
    if not isinstance(model, PeftModel):
        return model
    base = model.get_base_model()
    assert isinstance(base, PreTrainedModel)
    return base


def accepts(model: AnyModel, name: str) -> bool:
    """Whether the model's forward pass names this argument."""
    forward: Callable[..., Any] = type(plain_model(model)).forward
    return name in inspect.signature(forward).parameters


def own_logits(model: AnyModel, token_ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
    """The logits of one sequence [T, V], those of every token."""
    ids_T = torch.as_tensor(token_ids, device=model.device)
    given: dict[str, Any] = {"use_cache": False} if accepts(model, "use_cache") else {}
    logits_TV: torch.Tensor = model(input_ids=ids_T[None], **given).logits[0]
    return logits_TV[-ids_T.numel() :]
