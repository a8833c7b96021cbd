"""Load an adapter for sampling: merged into its base where that changes nothing, else beside the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from finetrial.methods.peft_half import PEFT_REFUSALS, tuner_layers
from finetrial.models.library_calls import quiet
from finetrial.models.loading import cast_parameters, load_adapted

# What merging may change of the logits, as a share of their largest: float32 sums in another order give 1e-6.
# Assumption
_SAME = 1e-3
_PROBE_TOKENS = 12


def load_adapter(
    base: str, *, adapter: Path, dtype: torch.dtype = torch.float32, foreign: bool = False, **source: Any
) -> tuple[PreTrainedModel, str | None]:
    """The model with the adapter, merged in float32 and rounded to `dtype` once; or beside the weights, and why.

    `foreign`: it was not tuned here, and is refused where it belongs to another base. `source` goes to
    `load_adapted`.
    """
    adapted = load_adapted(base, adapter=adapter, dtype=torch.float32, foreign=foreign, **source)
    merged, reason = _merged(adapted)
    if merged is not None:
        return cast_parameters(merged, dtype).eval(), None
    # merging has spoiled the first one
    again = load_adapted(base, adapter=adapter, dtype=dtype, foreign=foreign, **source)
    kind = str(getattr(again.peft_config["default"].peft_type, "value", again.peft_config["default"].peft_type))
    model = again.get_base_model()
    assert isinstance(model, PreTrainedModel)
    return model.eval(), f"peft's {kind} {reason}"


@torch.no_grad()
def _merged(adapted: PeftModel) -> tuple[PreTrainedModel | None, str]:
    """The model with the adapter in its weights; or None, and why not: the adapted model is then spoiled."""
    base = adapted.get_base_model()
    assert isinstance(base, PreTrainedModel)
    table = base.get_input_embeddings().weight
    assert isinstance(table, torch.Tensor)
    vocabulary = table.shape[0]
    ids_1T = (torch.arange(_PROBE_TOKENS, device=base.device) * 31 % vocabulary)[None]
    expected_1TV = base(input_ids=ids_1T, use_cache=False).logits
    try:
        with quiet():
            merged = adapted.merge_and_unload()
    except PEFT_REFUSALS:
        return None, "cannot be merged into the weights"
    found_1TV = merged(input_ids=ids_1T, use_cache=False).logits
    if tuner_layers(merged) or not (found_1TV - expected_1TV).abs().max() <= _SAME * expected_1TV.abs().max():
        return None, "merged into the weights gives other logits"
    assert isinstance(merged, PreTrainedModel)
    return merged, ""
