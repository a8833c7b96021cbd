"""Turn a packed row into a loss, the fastest way that is right for this model.

A model is probed once, in float32, on a copy of its first layers with its own trained weights
(kernels/float32_copy.py): rounding at bfloat16 is larger than what the probe looks for. Packed: a block's hidden
states and gradients must be those it has alone with the model's own code, and what one block holds must not
change another's by a single bit.
Fused: the head applied to the backbone's hidden states must give the model's own logits, also when these are large
(some models cap or scale them). What fails its probe is not used, and a record says why: such a model gets one
example at a time, its own modules, or its own head.

Shapes: T tokens of a packed row, M of them predict a token that carries loss, C width, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from peft.utils.other import TrainableTokensWrapper
from torch import nn
from transformers import PreTrainedModel

from finetrial.models.batches import MicroBatch
from finetrial.models.kernels.accelerator import device_capabilities
from finetrial.models.kernels.attention import BLOCK_ATTENTION, UnsupportedAttention
from finetrial.models.kernels.attention_kernels import TITLE, AttentionKernel, ShapeRecorder, choose_attention
from finetrial.models.kernels.block_products import BlockRuns
from finetrial.models.kernels.float32_copy import Float32Embedding, NoFloat32Copy, float32_copy
from finetrial.models.kernels.gradients import GradientSum
from finetrial.models.kernels.kernel_table import kernels_for
from finetrial.models.kernels.losses import head_loss, head_losses, logits_loss, logits_losses
from finetrial.models.kernels.place import Kernel, install_kernels, near, restore_modules
from finetrial.models.kernels.private_calls import attention_of, give_attention
from finetrial.models.kernels.recompute import recomputing
from finetrial.models.kernels.rows_layout import RowLayout, layout_of, padded_row
from finetrial.models.own_forward import check_usable, has_learned_prompt, own_logits, plain_model, why_copy_fails
from finetrial.models.special_tokens import embedding_weight
from finetrial.store.records import FastPath

_PROBE_LENGTHS = (7, 5, 5)
_PROBE_RUNS = ((1, 7), (2, 5))
_LARGE = 1e3  # hidden states times this make any cap on the logits visible


Through = Callable[[Callable[[], torch.Tensor]], torch.Tensor]


def _at_once(work: Callable[[], torch.Tensor]) -> torch.Tensor:
    return work()


@dataclass(frozen=True, slots=True)
class LossModel:
    """A model with what the probes allowed."""

    model: PreTrainedModel | PeftModel
    packed: bool
    fused: bool
    head_sum: GradientSum | None = None  # where the head's gradient goes, where it has a master
    fast_paths: tuple[FastPath, ...] = ()
    attention: AttentionKernel | None = None  # of packed rows on a card
    through: Through | None = None  # runs a pass where the weights are not simply there: shared over processes

    @property
    def base(self) -> PreTrainedModel:
        return plain_model(self.model)

    def bring(self, batch: MicroBatch) -> MicroBatch:
        """The batch on the model's device. On a card a packed row has one of a few lengths."""
        if self.attention is not None:
            batch = batch.padded(padded_row(batch.input_ids_T.numel()))
        return batch.to(self.base.device)

    def loss(self, batch: MicroBatch, *, scale: float) -> torch.Tensor:
        """`scale` times the summed cross-entropy of the trained tokens of a batch that was brought here."""
        run = self.through or _at_once
        return run(lambda: self._loss(batch, scale=scale))

    def _loss(self, batch: MicroBatch, *, scale: float) -> torch.Tensor:
        if not self.fused:
            return logits_loss(self._logits(batch), labels_M=batch.labels_M, scale=scale)
        weight_VC, bias_V = head_weights(self.base)
        return head_loss(
            self._hidden(batch),
            weight_VC=weight_VC,
            bias_V=bias_V,
            labels_M=batch.labels_M,
            scale=scale,
            weight_sum=self.head_sum,
        )

    def part_losses(self, batch: MicroBatch, *, scales: Sequence[float]) -> list[torch.Tensor]:
        """`loss` of each of the equal parts that a batch consists of, one after another, by each part's scale."""
        labels = batch.labels_M.chunk(len(scales))
        if not self.fused:
            found = self._logits(batch).chunk(len(scales))
            return [logits_loss(x, labels_M=y, scale=s) for x, y, s in zip(found, labels, scales, strict=True)]
        weight_VC, bias_V = head_weights(self.base)
        hidden = self._hidden(batch).chunk(len(scales))
        return [
            head_loss(x, weight_VC=weight_VC, bias_V=bias_V, labels_M=y, scale=s)
            for x, y, s in zip(hidden, labels, scales, strict=True)
        ]

    def token_losses(self, batch: MicroBatch) -> torch.Tensor:
        """The cross-entropy of each trained token [M], of a batch that was brought here; without gradients."""
        run = self.through or _at_once
        return run(lambda: self._token_losses(batch))

    def _token_losses(self, batch: MicroBatch) -> torch.Tensor:
        if not self.fused:
            return logits_losses(self._logits(batch), labels_M=batch.labels_M)
        weight_VC, bias_V = head_weights(self.base)
        return head_losses(self._hidden(batch), weight_VC=weight_VC, bias_V=bias_V, labels_M=batch.labels_M)

    def _row(self, batch: MicroBatch) -> dict[str, Any]:
        """What the forward pass is given beside the tokens."""
        extra: dict[str, Any] = {"use_cache": False}
        # one example alone has the positions that the model gives it: some begin at another number
        if self.packed:
            extra["position_ids"] = batch.position_ids_T[None]
            extra["block_runs"] = batch.runs
        if self.attention is not None:
            extra["block_runs"] = layout_of(batch.runs, kernel=self.attention, device=self.base.device)
        return extra

    def _logits(self, batch: MicroBatch) -> torch.Tensor:
        """Of the tokens that predict, by the model's own head."""
        if not self.packed:
            return own_logits(self.model, batch.input_ids_T, places=batch.loss_positions_M)
        found = self.base(
            input_ids=batch.input_ids_T[None], logits_to_keep=batch.loss_positions_M, **self._row(batch)
        )
        logits_MV: torch.Tensor = found.logits[0]
        if logits_MV.shape[0] != batch.labels_M.numel():  # some models take the argument and keep all
            logits_MV = logits_MV.index_select(0, batch.loss_positions_M)
        return logits_MV

    def _hidden(self, batch: MicroBatch) -> torch.Tensor:
        """Of the tokens that predict."""
        backbone = self.base.get_decoder()
        with recomputing() if torch.is_grad_enabled() else contextlib.nullcontext():
            found = backbone(input_ids=batch.input_ids_T[None], **self._row(batch))
        # not indexed: the gradient of an index is a matrix of zeros with one copied in
        hidden_TC: torch.Tensor = found.last_hidden_state.squeeze(0)
        if batch.loss_positions_M.numel() == hidden_TC.shape[0]:
            return hidden_TC
        return hidden_TC.index_select(0, batch.loss_positions_M)


def head_weights(model: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The output embedding's matrix [V, C] and bias, with trained token rows in place."""
    head = model.get_output_embeddings()
    if isinstance(head, TrainableTokensWrapper):
        return head.token_adapter.get_merged_weights(head.token_adapter.active_adapters), None
    return head.weight, getattr(head, "bias", None)


def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether the head is one linear map."""
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear):  # Dory's is one with a scale besides
        return type(head).forward is nn.Linear.forward
    return isinstance(head, TrainableTokensWrapper)


def _probe_ids(model: PreTrainedModel, *, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vocabulary = embedding_weight(model).shape[0]
    return [torch.randint(vocabulary, (n,), generator=generator).to(model.device) for n in _PROBE_LENGTHS]


def _hidden(model: PreTrainedModel, ids_T: torch.Tensor, **extra: Any) -> torch.Tensor:
    found = model.get_decoder()(input_ids=ids_T[None], use_cache=False, **extra)
    states_1TC: torch.Tensor = found.last_hidden_state
    return states_1TC[0]


def _hidden_and_grad(wide: PreTrainedModel, ids_T: torch.Tensor, **extra: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states, and the gradient of a fixed function of each of them in the embedding's rows."""
    embedding = wide.get_input_embeddings()
    assert isinstance(embedding, Float32Embedding)
    embedding.read.clear()
    with torch.enable_grad():
        hidden_TC = _hidden(wide, ids_T, **extra)
        upstream_TC = torch.linspace(-1, 1, hidden_TC.shape[1], device=hidden_TC.device).expand_as(hidden_TC)
        (grad,) = torch.autograd.grad(hidden_TC, embedding.read[0], upstream_TC)
    return hidden_TC.detach(), grad[0]


def _why_not_packed(
    wide: PreTrainedModel, alone: Sequence[tuple[torch.Tensor, torch.Tensor]], *, runs: BlockRuns | RowLayout
) -> str | None:
    """What a packed row does wrong on the float32 copy, which attends by blocks; None where it is right."""
    first, second, third = _probe_ids(wide, seed=1)
    other = _probe_ids(wide, seed=2)[0]
    positions_T = torch.cat([torch.arange(n, device=wide.device) for n in _PROBE_LENGTHS])
    extra = {"position_ids": positions_T[None], "block_runs": runs}
    start = _PROBE_LENGTHS[0]
    try:
        together, grad = _hidden_and_grad(wide, torch.cat([first, second, third]), **extra)
        disturbed = _hidden(wide, torch.cat([other, second, third]), **extra)
    except UnsupportedAttention as error:
        return f"its attention needs {error}, which attention by blocks does not compute"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's own code raises
        return f"a packed row fails: {type(error).__name__} {(str(error).splitlines() or [''])[0]}"[:160]
    if not near(together, torch.cat([hidden for hidden, _ in alone])):
        return "a packed row gives other hidden states in float32 than its examples give alone"
    if not near(grad, torch.cat([grad for _, grad in alone])):
        return "a packed row gives other gradients in float32 than its examples give alone"
    if not torch.equal(together[start:], disturbed[start:]):
        return "in a packed row one example changes another"
    return None


def _why_not_fused(model: PreTrainedModel, wide: PreTrainedModel) -> str | None:
    """What the head alone does otherwise than the model with its head; None where it is the same."""
    if not has_plain_head(model):
        return f"its head is a {type(model.get_output_embeddings()).__name__}"
    ids_T = _probe_ids(wide, seed=1)[0]
    head = wide.get_output_embeddings()
    hidden_TC = _hidden(wide, ids_T)
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0] * _LARGE, *inputs[1:]))
    try:
        logits_TR = wide(input_ids=ids_T[None], use_cache=False).logits[0]
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        return f"the model with its head fails: {type(error).__name__}"
    finally:
        hook.remove()
    if hidden_TC.shape[-1] != head.weight.shape[1]:
        return f"the head is given {head.weight.shape[1]} numbers a token, of the decoder's {hidden_TC.shape[-1]}"
    if not near(logits_TR, nn.functional.linear(hidden_TC * _LARGE, head.weight, head.bias)):
        return "the model caps or scales its logits"
    return None


def _probe_parts(
    model: PreTrainedModel, *, recorder: ShapeRecorder
) -> tuple[str | None, str | None, tuple[FastPath, ...]]:
    """Why the model may not be packed, why its head may not be fused, and which kernels are in place.

    On a card the float32 copy attends in padded batches, which run at every precision; `recorder` hears of which
    shapes. The kernel for the model's own precision is chosen afterwards.
    """
    device, dtype = model.device, embedding_weight(model).dtype
    made = kernels_for(device)
    restore_modules(model)
    try:
        wide = float32_copy(model, head=head_weights(model) if has_plain_head(model) else None)
    except NoFloat32Copy as error:
        check_usable(model)
        return _nothing_fast(str(error), made)
    if (reason := why_copy_fails(model, wide)) is not None:
        return _nothing_fast(reason, made)
    ids = _probe_ids(wide, seed=1)[: len(_PROBE_LENGTHS)]
    try:
        alone = [_hidden_and_grad(wide, ids_T) for ids_T in ids]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a model's own code raises
        said = (str(error).splitlines() or [""])[0]
        return _nothing_fast(f"its layers do not run apart from it: {type(error).__name__} {said}"[:160], made)
    not_fused = _why_not_fused(model, wide)
    own = attention_of(wide)
    not_packed = _takes_blocks(wide)
    kernels = install_kernels(model, wide=wide, kernels=made, device=device, dtype=dtype)
    runs: BlockRuns | RowLayout = _PROBE_RUNS
    if device.type != "cpu":
        runs = layout_of(_PROBE_RUNS, kernel=recorder, device=device)
    not_packed = not_packed or _why_not_packed(wide, alone, runs=runs)
    if not_packed is not None:  # the kernels must still be right where examples stand alone
        give_attention(wide, own)
        found = [_hidden_and_grad(wide, ids_T) for ids_T in ids]
        if not all(near(a[i], b[i]) for a, b in zip(found, alone, strict=True) for i in (0, 1)):
            restore_modules(model)
            wrong = "together the fast modules give other hidden states in float32 than the model's own"
            kernels = tuple(FastPath(k.name, on=False, reason=wrong) for k in kernels)
    return not_packed, not_fused, kernels


def _nothing_fast(reason: str, made: Sequence[Kernel]) -> tuple[str, str, tuple[FastPath, ...]]:
    """The model's own forward pass alone, one example at a time."""
    return reason, reason, tuple(FastPath(kernel.name, on=False, reason=reason) for kernel in made)


def _takes_blocks(wide: PreTrainedModel) -> str | None:
    """Give the copy attention by blocks; why it takes none, or None."""
    try:
        wide.set_attn_implementation(BLOCK_ATTENTION)
    except (ValueError, KeyError) as error:
        return f"it takes no other attention: {str(error).splitlines()[0]}"[:160]
    return None


@torch.no_grad()
def probe(model: PreTrainedModel | PeftModel) -> LossModel:
    """The model with the fastest way to its loss that is right for it. The model must be in eval mode."""
    if has_learned_prompt(model):
        reason = "its adapter is a learned prompt, which stands before every sequence"
        off = tuple(FastPath(name, on=False, reason=reason) for name in ("packed rows", "loss without logits"))
        return LossModel(model, packed=False, fused=False, fast_paths=off)
    base, recorder = plain_model(model), ShapeRecorder()
    not_packed, not_fused, kernels = _probe_parts(base, recorder=recorder)
    attention, attends = _attention(base, recorder=recorder, not_packed=not_packed)
    if not_packed is None:
        base.set_attn_implementation(BLOCK_ATTENTION)
    records = (
        FastPath("packed rows", on=not_packed is None, reason=not_packed or "equal to examples alone in float32"),
        attends,
        FastPath("loss without logits", on=not_fused is None, reason=not_fused or "the head is one linear map"),
    )
    return LossModel(
        model,
        packed=not_packed is None,
        fused=not_fused is None,
        fast_paths=(*records, *kernels),
        attention=attention,
    )


def _attention(
    model: PreTrainedModel, *, recorder: ShapeRecorder, not_packed: str | None
) -> tuple[AttentionKernel | None, FastPath]:
    """How packed rows attend on the model's device at its precision."""
    device, dtype = model.device, embedding_weight(model).dtype
    if not_packed is not None:
        return None, FastPath(TITLE, on=False, reason=f"one example at a time: {not_packed}")
    if device.type == "cpu":
        return None, FastPath(TITLE, on=True, reason="matrix products, the same chunk of all blocks in one batch")
    return choose_attention(device_capabilities(device), shapes=tuple(recorder.shapes), dtype=dtype, device=device)
