"""IA3's vectors as peft makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from peft import IA3Config
from peft.tuners.ia3.layer import IA3Layer
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from finetrial.methods.ia3.ia3_method import IA3, scales_input
from finetrial.methods.model_targets import TargetedModule
from finetrial.methods.peft_half import ADAPTER, Entries, PeftHalf, are_conv1d, every_entry, rows_of, short_names


class IA3Half(PeftHalf[IA3]):
    """Vectors beside frozen matrices, merged into them afterwards."""

    def config(
        self,
        model: PreTrainedModel,
        *,
        method: IA3,
        targeted: Sequence[TargetedModule],
        fresh: Sequence[int],
        seed: int,
    ) -> IA3Config:
        every = list(dict(model.named_modules()))
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=short_names([one.name for one in targeted], every=every),
            feedforward_modules=short_names([one.name for one in targeted if scales_input(one.roles)], every=every),
            fan_in_fan_out=are_conv1d(model, targeted),
        )

    def entries(self, layer: BaseTunerLayer, module: TargetedModule, *, method: IA3) -> Iterator[Entries]:
        assert isinstance(layer, IA3Layer)
        vector = layer.ia3_l[ADAPTER]
        found = every_entry(vector) if scales_input(module.roles) else rows_of(vector, module)
        yield replace(found, decays=False)  # around one, and rows that no target covers stay at one


HALF = IA3Half()
