"""How are LoRA's adapters put on a model, counted and saved, so that peft alone can load them?

LoRA (Hu et al. 2021, section 4.1): y = W x + (alpha / rank) B A x, with A [rank, inputs] random and B [outputs,
rank] zero at the start. Several adapters on one fused matrix, each on its own output rows, are one peft adapter of
rank k r whose B is zero outside its blocks: [B_q 0; 0 0; 0 B_v] [A_q; A_v]. Those zeros are never trained, and its
alpha is k alpha, so that alpha / rank stays. Rank-stabilised: sqrt(k) alpha.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetrial.errors import UserError
from finetrial.methods.lora_setting import LoraSetting
from finetrial.methods.targets import TargetedModule, targeted_modules
from finetrial.models.library_calls import quiet
from finetrial.models.special_tokens import row_modules

_ADAPTER = "default"


@dataclass(frozen=True, slots=True)
class Adapters:
    """A model with adapters in place."""

    model: PeftModel
    masks: dict[int, torch.Tensor]  # by the parameter's place among the trained ones: which entries may move
    parameters: int  # trained, special rows apart
    special_rows: int


def _short_names(wanted: Sequence[str], *, every: Sequence[str]) -> list[str]:
    """The shortest endings that match the wanted modules and no others; their full names where there are none."""
    for parts in (1, 2):
        endings = sorted({".".join(name.split(".")[-parts:]) for name in wanted})
        matched = [n for n in every if any(n == e or n.endswith("." + e) for e in endings)]
        if set(matched) == set(wanted):
            return endings
    return sorted(wanted)


def _config(
    model: PreTrainedModel, setting: LoraSetting, adapted: Sequence[TargetedModule], *, fresh: Sequence[int]
) -> LoraConfig:
    modules = dict(model.named_modules())
    conv = {isinstance(modules[a.name], Conv1D) for a in adapted}
    if len(conv) > 1:
        raise UserError(
            "these targets mix layer types that one adapter cannot hold", got=", ".join(setting.targets)
        )

    def alpha_of(blocks: int) -> float:
        value = setting.alpha * (math.sqrt(blocks) if setting.rank_stabilised else blocks)
        return int(value) if value == int(value) else value

    counts = [len(a.blocks) for a in adapted]
    usual = max(set(counts), key=counts.count)
    others = {a.name: len(a.blocks) for a in adapted if len(a.blocks) != usual}
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=setting.rank * usual,
        lora_alpha=alpha_of(usual),
        rank_pattern={name: setting.rank * k for name, k in others.items()},
        alpha_pattern={name: alpha_of(k) for name, k in others.items()},
        target_modules=_short_names([a.name for a in adapted], every=list(modules)),
        lora_dropout=setting.dropout,
        use_dora=setting.dora,
        use_rslora=setting.rank_stabilised,
        fan_in_fan_out=conv == {True},
        trainable_token_indices={name: list(fresh) for name in row_modules(model)} if fresh else None,
    )


def _mask(layer: LoraLayer, adapted: TargetedModule, *, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which entries of B [outputs, k rank] and which output rows belong to a block."""
    weight = layer.lora_B[_ADAPTER].weight
    entries, rows = torch.zeros_like(weight), torch.zeros_like(weight[:, 0])
    for place, (start, stop) in enumerate(adapted.blocks):
        entries[start:stop, place * rank : (place + 1) * rank] = 1
        rows[start:stop] = 1
    return entries, rows


def attach(model: PreTrainedModel, *, setting: LoraSetting, fresh: Sequence[int], seed: int) -> Adapters:
    """Freeze the model and put adapters on what the targets mean; `fresh` token rows are trained too.

    Adapters have the model's precision. A's random start depends on the seed alone.
    """
    adapted = targeted_modules(model, targets=setting.targets)
    config = _config(model, setting, adapted, fresh=fresh)
    if model.name_or_path:
        config.base_model_name_or_path = model.name_or_path
    torch.manual_seed(seed)
    with quiet():
        peft_model = get_peft_model(model, config, autocast_adapter_dtype=False)
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in peft_model.named_modules()
        if isinstance(module, LoraLayer)
    }
    assert set(layers) == {a.name for a in adapted}, "peft adapted other modules than the targets mean"
    places = {id(p): i for i, p in enumerate(trained(peft_model))}
    masks: dict[int, torch.Tensor] = {}
    parameters = 0
    for one in adapted:
        layer = layers[one.name]
        entries, rows = _mask(layer, one, rank=setting.rank)
        magnitude = layer.lora_magnitude_vector[_ADAPTER].weight if setting.dora else None
        parameters += layer.lora_A[_ADAPTER].weight.numel() + int(entries.sum())
        parameters += 0 if magnitude is None else int(rows.sum())
        if not one.whole:
            masks[places[id(layer.lora_B[_ADAPTER].weight)]] = entries.float()
            if magnitude is not None:
                masks[places[id(magnitude)]] = rows.float().reshape(magnitude.shape)
    return Adapters(peft_model, masks, parameters, special_rows=len(fresh))


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that gradients reach, in the model's order, each once."""
    return [p for p in model.parameters() if p.requires_grad]


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter in peft's layout."""
    with quiet():
        model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
