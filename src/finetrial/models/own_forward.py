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
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from finetrial.errors import UserError
from finetrial.models.library_calls import quiet

AnyModel = PreTrainedModel | PeftModel

_LOOKED_AT, _PART = 12, 8  # tokens
# Relative differences of logits, in norm, that rounding explains: at half precision, and at float32. Assumption
_SAME = (0.2, 1e-3)


def has_learned_prompt(model: AnyModel) -> bool:
    """Whether an adapter of the model is tokens that were learned: its logits are those of the wrapper alone."""
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def learned_tokens(model: AnyModel) -> int:
    """How many positions a learned prompt takes before every sequence."""
    if not has_learned_prompt(model):
        return 0
    assert isinstance(model, PeftModel)
    return int(getattr(model.active_peft_config, "num_virtual_tokens", 0))


def positions_in(config: Any) -> int | None:
    """A model's number of positions, or None when its configuration names no limit."""
    text = config.get_text_config()
    found = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)
    return found if found is None or found > 0 else None  # XLNet's says -1


def context_left(model: AnyModel) -> int | None:
    """How many positions there are for prompt and answer, or None when the model's config names no limit."""
    positions = positions_in(plain_model(model).config)
    return None if positions is None else positions - learned_tokens(model)


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


def own_logits(
    model: AnyModel, token_ids: Sequence[int] | torch.Tensor, *, places: torch.Tensor | None = None
) -> torch.Tensor:
    """The logits of one sequence [T, V]; of the tokens at these places alone, where some are named."""
    ids_T = torch.as_tensor(token_ids, device=model.device)
    given: dict[str, Any] = {"use_cache": False} if accepts(model, "use_cache") else {}
    if places is None or has_learned_prompt(model):  # whose logits stand before those of the tokens
        logits_TV: torch.Tensor = model(input_ids=ids_T[None], **given).logits[0][-ids_T.numel() :]
        return logits_TV if places is None else logits_TV.index_select(0, places)
    if accepts(model, "logits_to_keep"):
        given["logits_to_keep"] = places
    logits_TV = model(input_ids=ids_T[None], **given).logits[0]
    # some take the argument and keep all
    return logits_TV if logits_TV.shape[0] == places.numel() else logits_TV.index_select(0, places)


def why_copy_fails(model: AnyModel, wide: AnyModel) -> str | None:
    """Why a model's float32 copy cannot stand for it; None: it can. Raises UserError for a model at fault."""
    try:
        check_usable(wide)
    except UserError as error:
        check_usable(model)
        return f"its float32 copy does not run as it does: {error.got}"[:160]
    return None


@torch.no_grad()
def check_usable(model: AnyModel) -> None:
    """Raise UserError for a model that takes more than tokens, or that sees those that it is to predict."""
    table = model.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    generator = torch.Generator().manual_seed(7)
    ids_T = torch.randint(1, max(2, table.shape[0]), (_LOOKED_AT,), generator=generator).clamp(
        max=table.shape[0] - 1
    )
    kind = plain_model(model).config.model_type
    try:
        with quiet():
            whole_TV, part_TV = own_logits(model, ids_T).float(), own_logits(model, ids_T[:_PART]).float()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's own code raises
        said = (str(error).splitlines() or ["no reason given"])[0]
        raise UserError(
            f"{kind} cannot be given tokens and nothing else",
            got=f"{type(error).__name__} {said}"[:200],
            expected="a causal language model",
            fix="Name another model.",
        ) from None
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        return  # some of peft's adapters mix tokens: what they give for a whole sequence is what they are
    difference = (whole_TV[:_PART] - part_TV).norm() / part_TV.norm().clamp(min=1e-30)
    if not difference <= _SAME[table.dtype == torch.float32]:
        raise UserError(
            f"the tokens that {kind} is to predict change what it predicts before them",
            got=f"its logits differ by {float(difference):.1g} of their size",
            expected="a causal language model, which sees the tokens before alone",
            fix="Name another model.",
        )
