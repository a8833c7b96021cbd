"""VeRA's vectors and shared projections as peft makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from peft import PeftModel, VeraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.tuners.vera.layer import VeraLayer
from transformers import PreTrainedModel

from finetrial.methods.model_targets import TargetedModule
from finetrial.methods.peft_half import (
    ADAPTER,
    Entries,
    PeftHalf,
    are_conv1d,
    every_entry,
    rows_of,
    short_names,
)
from finetrial.methods.vera.vera_method import Vera
from finetrial.models.merging import tuner_layers


class VeraHalf(PeftHalf[Vera]):
    """Vectors beside frozen matrices, merged into them afterwards."""

    def config(
        self,
        model: PreTrainedModel,
        *,
        method: Vera,
        targeted: Sequence[TargetedModule],
        fresh: Sequence[int],
        seed: int,
    ) -> VeraConfig:
        return VeraConfig(
            task_type="CAUSAL_LM",
            r=method.rank,
            target_modules=short_names([one.name for one in targeted], every=list(dict(model.named_modules()))),
            projection_prng_key=seed,
            save_projection=method.save_projection,
            vera_dropout=method.dropout,
            fan_in_fan_out=are_conv1d(model, targeted),
        )

    def entries(self, layer: BaseTunerLayer, module: TargetedModule, *, method: Vera) -> Iterator[Entries]:
        assert isinstance(layer, VeraLayer)
        yield every_entry(layer.vera_lambda_d[ADAPTER])
        yield rows_of(layer.vera_lambda_b[ADAPTER], module)

    def as_trained(self, model: PeftModel, *, dtype: torch.dtype) -> None:
        """The projections rounded to the precision that training had them at."""
        for layer in tuner_layers(model).values():
            assert isinstance(layer, VeraLayer) and layer.vera_A is not None and layer.vera_B is not None
            for shared in (layer.vera_A, layer.vera_B):
                shared[ADAPTER] = shared[ADAPTER].to(dtype).to(shared[ADAPTER].dtype)


HALF = VeraHalf()
