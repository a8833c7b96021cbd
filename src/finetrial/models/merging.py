"""Load an adapter for sampling: merged into its base where that changes nothing, else beside the weights.

What is merged must give, in float32, the logits that it gives beside the weights; and at the precision that is
sampled in, merged weights may be at most 1.5 times as far from the float32 logits as the adapter beside the weights
is. A learned prompt stands in no weights at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from finetrial.models.device import dtype_name
from finetrial.models.library_calls import quiet
from finetrial.models.loading import cast_parameters, load_adapted
from finetrial.models.own_forward import (
    check_usable,
    context_left,
    has_learned_prompt,
    own_logits,
    plain_model,
)

# What merging may change of the logits, as a share of their largest: float32 sums in another order give 1e-6, a
# recurrence over them 1e-5. Assumption
_SAME = 1e-4
_WORSE = 1.5  # merged logits' error at the precision over that of the adapter beside the weights: issue 16's bound
_PROBE_TOKENS = 48
UNMOVED = 1e-6  # of the largest logit: what float32 sums in another order move. Assumption
# what peft raises, by its kind of adapter, for what it cannot do
PEFT_REFUSALS = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, AssertionError)

Prepare = Callable[[PeftModel], None]


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """A base with an adapter, in its weights or beside them."""

    model: PreTrainedModel
    unmerged: str | None = None  # why it stands beside the weights; None: it is merged
    moved: float | None = None  # the most that it moves a logit, as a share of the base's largest; None: not known


def tuner_layers(model: nn.Module) -> dict[str, BaseTunerLayer]:
    """The modules that peft has put in place, by their names in the transformers model."""
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, BaseTunerLayer)
    }


def load_adapter(
    base: str,
    *,
    adapter: Path,
    dtype: torch.dtype = torch.float32,
    foreign: bool = False,
    prepare: Prepare = lambda adapted: None,
    **source: Any,
) -> LoadedAdapter:
    """The model with the adapter, merged in float32 and rounded to `dtype` once; or beside the weights, and why.

    `foreign`: it was not tuned here, and is refused where it does not fit. `prepare` gives an adapter that was read
    what is not saved of it. `source` goes to `load_adapted`.
    """

    def read(precision: torch.dtype) -> PeftModel:
        adapted = load_adapted(base, adapter=adapter, dtype=precision, foreign=foreign, **source)
        prepare(adapted)
        return adapted.eval()

    adapted = read(torch.float32)
    if has_learned_prompt(adapted):
        prompted = adapted if dtype == torch.float32 else read(dtype)
        check_usable(prompted)
        reason = f"peft's {_kind(adapted)} is a learned prompt, which no weights hold"
        moved = _moved(adapted, _probe_ids(adapted)[: context_left(adapted)])
        # the wrapper answers to everything that is asked here
        return LoadedAdapter(cast(PreTrainedModel, prompted), reason, moved)
    kind, ids_T = _kind(adapted), _probe_ids(adapted)
    exact_TV, moved = _logits(adapted, ids_T), _moved(adapted, ids_T)
    merged, reason = _merged(adapted, ids_T, exact_TV=exact_TV)
    del adapted  # merging has spoiled it
    if merged is not None:
        merged = cast_parameters(merged, dtype).eval()
        if dtype == torch.float32:
            return LoadedAdapter(merged, moved=moved)
        error = _distance(_logits(merged, ids_T), exact_TV)
    beside = plain_model(read(dtype)).eval()
    if merged is not None:
        bound = _distance(_logits(beside, ids_T), exact_TV)
        if error <= _WORSE * bound:
            return LoadedAdapter(merged, moved=moved)
        times = f"{error / bound:.1f} times as far from float32 logits"
        reason = f"merged at {dtype_name(dtype)} is {times} as beside the weights"
    return LoadedAdapter(beside, f"peft's {kind} {reason}", moved)


@torch.no_grad()
def _moved(adapted: PeftModel, ids_T: torch.Tensor) -> float | None:
    """How far the adapter moves the logits; None where peft cannot take it out of force."""
    found_TV = _logits(adapted, ids_T)
    try:
        with quiet(), adapted.disable_adapter():
            base_TV = _logits(adapted, ids_T)
    except PEFT_REFUSALS:
        return None
    return float((found_TV - base_TV).abs().max() / base_TV.abs().max().clamp(min=1e-30))


def _kind(model: PeftModel) -> str:
    found = model.peft_config["default"].peft_type
    return str(getattr(found, "value", found))


def _probe_ids(model: PeftModel) -> torch.Tensor:
    table = plain_model(model).get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    config = plain_model(model).config.get_text_config()
    count = min(_PROBE_TOKENS, getattr(config, "max_position_embeddings", None) or _PROBE_TOKENS)
    return torch.arange(count, device=table.device) * 31 % table.shape[0]


@torch.no_grad()
def _logits(model: PreTrainedModel | PeftModel, ids_T: torch.Tensor) -> torch.Tensor:
    return own_logits(model, ids_T).float()


def _distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm())


@torch.no_grad()
def _merged(
    adapted: PeftModel, ids_T: torch.Tensor, *, exact_TV: torch.Tensor
) -> tuple[PreTrainedModel | None, str]:
    """The model with the adapter in its weights; or None, and why not: the adapted model is then spoiled."""
    try:
        with quiet():
            merged = adapted.merge_and_unload()
    except PEFT_REFUSALS:
        return None, "cannot be merged into the weights"
    found_TV = _logits(merged, ids_T)
    if tuner_layers(merged) or not (found_TV - exact_TV).abs().max() <= _SAME * exact_TV.abs().max():
        return None, "merged into the weights gives other logits"
    assert isinstance(merged, PreTrainedModel)
    return merged, ""
