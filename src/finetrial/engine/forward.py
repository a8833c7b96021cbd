"""How does this model turn a packed row into a loss, and may it be packed at all?

A model is probed once. Packed: what one block holds must not change another's hidden states by a single bit, and a
block's hidden states must be those it has alone. Fused: the head applied to the backbone's hidden states must give
the model's own logits, also when these are large (some models cap or scale them). What fails its probe is not
used: such a model gets one example at a time, or its own head.

Shapes: T tokens of a packed row, M of them predict a token that carries loss, C width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.utils.other import TrainableTokensWrapper
from torch import nn
from transformers import PreTrainedModel

from finetrial.engine.attention import BLOCK_ATTENTION, UnsupportedAttention
from finetrial.engine.batches import MicroBatch
from finetrial.engine.gradients import GradientSum
from finetrial.engine.losses import head_loss, logits_loss

_PROBE_LENGTHS = (7, 5, 5)
# Relative differences that rounding alone explains: some 20 rounding steps of each format. Assumption.
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 8e-2, torch.float16: 1e-2}
_LARGE = 1e3  # hidden states times this make any cap on the logits visible


@dataclass(frozen=True, slots=True)
class LossModel:
    """A model with what the probes allowed."""

    model: PreTrainedModel | PeftModel
    packed: bool
    fused: bool
    head_sum: GradientSum | None = None  # where the head's gradient goes, where it has a master

    @property
    def base(self) -> PreTrainedModel:
        return plain_model(self.model)

    def loss(self, batch: MicroBatch, *, scale: float) -> torch.Tensor:
        """`scale` times the summed cross-entropy of the batch's trained tokens."""
        extra: dict[str, Any] = {"use_cache": False}
        if self.packed:
            extra["block_runs"] = batch.runs
        input_ids, position_ids = batch.input_ids_T[None], batch.position_ids_T[None]
        if not self.fused:
            out = self.base(
                input_ids=input_ids, position_ids=position_ids, logits_to_keep=batch.loss_positions_M, **extra
            )
            return logits_loss(out.logits[0], labels_M=batch.labels_M, scale=scale)
        backbone = self.base.get_decoder()
        hidden_TC = backbone(input_ids=input_ids, position_ids=position_ids, **extra).last_hidden_state[0]
        hidden_MC = hidden_TC
        if batch.loss_positions_M.numel() != hidden_TC.shape[0]:
            hidden_MC = hidden_TC.index_select(0, batch.loss_positions_M)
        weight_VC, bias_V = head_weights(self.base)
        return head_loss(
            hidden_MC,
            weight_VC=weight_VC,
            bias_V=bias_V,
            labels_M=batch.labels_M,
            scale=scale,
            weight_sum=self.head_sum,
        )


def plain_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model, its adapters in place."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def head_weights(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The output embedding's matrix [V, C] and bias, with trained token rows in place."""
    head = model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        return head.token_adapter.get_merged_weights(head.token_adapter.active_adapters), None
    return head.weight, getattr(head, "bias", None)


def _probe_ids(model: PreTrainedModel, *, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    return [torch.randint(vocabulary, (n,), generator=generator).to(model.device) for n in _PROBE_LENGTHS]


def _hidden(model: PreTrainedModel, ids_T: torch.Tensor, **extra: Any) -> torch.Tensor:
    return model.get_decoder()(input_ids=ids_T[None], use_cache=False, **extra).last_hidden_state[0]


def _near(found: torch.Tensor, expected: torch.Tensor, *, dtype: torch.dtype) -> bool:
    difference = (found.float() - expected.float()).norm()
    return bool(difference <= _TOLERANCE[dtype] * expected.float().norm())


def _packs(model: PreTrainedModel) -> bool:
    first, second, third = _probe_ids(model, seed=1)
    other = _probe_ids(model, seed=2)[0]
    positions_T = torch.cat([torch.arange(n, device=model.device) for n in _PROBE_LENGTHS])
    runs = ((1, _PROBE_LENGTHS[0]), (2, _PROBE_LENGTHS[1]))
    start = _PROBE_LENGTHS[0]
    alone = [_hidden(model, ids) for ids in (first, second, third)]
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(BLOCK_ATTENTION)
        extra = {"position_ids": positions_T[None], "block_runs": runs}
        together = _hidden(model, torch.cat([first, second, third]), **extra)
        disturbed = _hidden(model, torch.cat([other, second, third]), **extra)
        sound = torch.equal(together[start:], disturbed[start:]) and _near(
            together, torch.cat(alone), dtype=model.dtype
        )
    except (UnsupportedAttention, TypeError, ValueError, KeyError, RuntimeError):
        sound = False
    if not sound:
        model.set_attn_implementation(before)
    return sound


def _fuses(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    if not isinstance(head, (nn.Linear, TrainableTokensWrapper)):
        return False
    ids_T = _probe_ids(model, seed=1)[0]
    hidden_TC = _hidden(model, ids_T)
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0] * _LARGE, *inputs[1:]))
    try:
        logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0]
    finally:
        hook.remove()
    weight_VC, bias_V = head_weights(model)
    expected_TV = nn.functional.linear(hidden_TC * _LARGE, weight_VC, bias_V)
    return _near(logits_TV, expected_TV, dtype=model.dtype)


@torch.no_grad()
def probe(model: PreTrainedModel | PeftModel) -> LossModel:
    """The model with the fastest way to its loss that is right for it. The model must be in eval mode."""
    base = plain_model(model)
    return LossModel(model=model, packed=_packs(base), fused=_fuses(base))
