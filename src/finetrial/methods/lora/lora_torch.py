"""Put LoRA's adapters on a model, count and save them, so that peft alone can load them.

LoRA (Hu et al. 2021, section 4.1): y = W x + (alpha / rank) B A x, with A [rank, inputs] random and B [outputs,
rank] zero at the start. Several adapters on one fused matrix, each on its own output rows, are one peft adapter of
rank k r whose B is zero outside its blocks: [B_q 0; 0 0; 0 B_v] [A_q; A_v]. Those zeros are never trained, and its
alpha is k alpha, so that alpha / rank stays. Rank-stabilised: sqrt(k) alpha. Rows that stand apart (the queries of
each head of GPT-NeoX) are one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.model_targets import TargetedModule
from finetrial.methods.peft_half import (
    ADAPTER,
    Entries,
    PeftHalf,
    are_conv1d,
    every_entry,
    parameter_of,
    rows_of,
    short_names,
)
from finetrial.methods.torch_half import Loaded, Part, Where
from finetrial.models.quantize import load_quantized, load_quantized_arm
from finetrial.models.special_tokens import row_modules


class LoraHalf(PeftHalf[Lora]):
    """LoRA and its variants, on a base that may be in four bits."""

    trains_new_rows: ClassVar[bool] = True

    def load_base(self, method: Lora, where: Where) -> PreTrainedModel:
        if method.quantize is None:
            return super().load_base(method, where)
        return load_quantized(where.base, dtype=where.dtype, **where.source)

    def config(
        self,
        model: PreTrainedModel,
        *,
        method: Lora,
        targeted: Sequence[TargetedModule],
        fresh: Sequence[int],
        seed: int,
    ) -> LoraConfig:
        def alpha_of(blocks: int) -> Any:  # peft types it as a whole number and takes any
            value = method.scaling_alpha * (math.sqrt(blocks) if method.rank_stabilised else blocks)
            return int(value) if value == int(value) else value

        counts = [len(one.blocks) for one in targeted]
        usual = max(set(counts), key=counts.count)
        others = {one.name: len(one.blocks) for one in targeted if len(one.blocks) != usual}
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=method.rank * usual,
            lora_alpha=alpha_of(usual),
            rank_pattern={name: method.rank * k for name, k in others.items()},
            alpha_pattern={name: alpha_of(k) for name, k in others.items()},
            target_modules=short_names([one.name for one in targeted], every=list(dict(model.named_modules()))),
            lora_dropout=method.dropout,
            use_dora=method.dora,
            use_rslora=method.rank_stabilised,
            fan_in_fan_out=are_conv1d(model, targeted),
            trainable_token_indices={name: list(fresh) for name in row_modules(model)} if fresh else None,
        )

    def is_adapted(self, layer: BaseTunerLayer) -> bool:
        return isinstance(layer, LoraLayer)

    def entries(self, layer: BaseTunerLayer, module: TargetedModule, *, method: Lora) -> Iterator[Entries]:
        assert isinstance(layer, LoraLayer)
        yield every_entry(parameter_of(layer.lora_A[ADAPTER].weight))
        yield self._blocks(layer, module, rank=method.rank)
        if method.dora:
            yield rows_of(parameter_of(layer.lora_magnitude_vector[ADAPTER].weight), module)

    def _blocks(self, layer: LoraLayer, module: TargetedModule, *, rank: int) -> Entries:
        """The entries of B [outputs, k rank] that belong to a block."""
        weight = parameter_of(layer.lora_B[ADAPTER].weight)
        mask = torch.zeros_like(weight)
        for place, block in enumerate(module.blocks):
            columns = mask[:, place * rank : (place + 1) * rank]
            Part.of_rows(block).of(columns).fill_(1)
        return Entries(weight, int(mask.sum()), None if module.whole else mask)

    def load(self, method: Lora, where: Where, *, folder: Path) -> Loaded:
        if method.quantize is None:
            return super().load(method, where, folder=folder)
        model = load_quantized_arm(
            where.base,
            folder=folder,
            dtype=where.dtype,
            device=where.device,
            trust_remote_code=where.trust_remote_code,
        )
        return Loaded(model)


HALF = LoraHalf()
