"""Sample arms in this process with torch and transformers.

What was tuned is merged into the weights where its method can; else it stands beside them. Log-likelihoods are
those of the very weights that are sampled from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from finetrial.footprint.beside import Beside
from finetrial.footprint.structure import Shape
from finetrial.methods.halves import half_of
from finetrial.methods.model_targets import shape_of
from finetrial.methods.torch_half import Loaded, Where
from finetrial.models.adapter_base import holds_weights_of, why_base_unknown
from finetrial.models.bits_per_byte import bits_per_byte_of
from finetrial.models.device import choose_precision, dtype_name, pick_device
from finetrial.models.encode import end_ids
from finetrial.models.evaluate import nats_of
from finetrial.models.loading import adapter_config, load_model
from finetrial.models.merging import UNMOVED, load_adapter
from finetrial.models.own_forward import context_left
from finetrial.models.pretraining_corpus import Document
from finetrial.models.quantize import check_quantize
from finetrial.sampling.prompt_task import PromptTask
from finetrial.sampling.sample import sample_arm
from finetrial.sampling.sampler import ArmToSample, LoadedArm, OnProgress
from finetrial.sampling.sampling_way import SamplingWay, Way
from finetrial.sampling.way_probe import choose_way
from finetrial.store.records import RetainedText, Sample, SamplingCheck
from finetrial.trial.examples import Encoded
from finetrial.trial.resolve import SampledArm


@dataclass(frozen=True, slots=True)
class TorchArm:
    """An arm's model in memory."""

    arm: SampledArm
    loaded: Loaded
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    way: SamplingWay
    checks: tuple[SamplingCheck, ...] = ()
    base_unknown: str | None = None  # why it is not known that an adapter from elsewhere was trained on its base
    batch_sequences: int | None = None  # None: by the device

    @property
    def model(self) -> PreTrainedModel:
        # peft's wrapper answers to everything that is asked of a model here
        return self.loaded.model

    @property
    def unmerged(self) -> str | None:
        return self.loaded.unmerged

    @property
    def sampled_alone(self) -> str | None:
        return None if self.way.way in (Way.SHARED, Way.BATCHED) else str(self.way)

    @property
    def beside(self) -> Beside | None:
        return self.loaded.beside

    @property
    def usage(self) -> None:
        return None

    @property
    def positions(self) -> int | None:
        return context_left(self.model)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def shape(self) -> Shape | None:
        return shape_of(self.model)

    @property
    def precision(self) -> str:
        return dtype_name(self.dtype)

    @property
    def device(self) -> str:
        return str(self.model.device)

    def nats(self, examples: Sequence[Encoded]) -> Sequence[float]:
        """Minus the log-likelihood of the trained tokens of each."""
        return nats_of(self.model, examples)

    def retained(self, documents: Sequence[Document]) -> Sequence[RetainedText]:
        """The bits and bytes of each document."""
        return bits_per_byte_of(self.model, documents, tokenizer=self.tokenizer, context=self.positions)

    def sample(self, prompts: Sequence[PromptTask], *, on_progress: OnProgress) -> Iterator[Sample]:
        """Yield the samples batch by batch, prompts of similar length together."""
        ends = end_ids(self.tokenizer, chat=self.arm.form.chat)
        decoding = self.arm.decoding
        return sample_arm(
            self.model,
            self.tokenizer,
            prompts,
            decoding=decoding,
            arm=self.arm.name,
            ends=ends,
            batch_sequences=self.batch_sequences,
            way=self.way.way,
            on_progress=on_progress,
        )


@dataclass(frozen=True, slots=True)
class TorchSampler:
    """Loads models into this process."""

    name: str = "torch"
    log_likelihoods: bool = True
    common_random_numbers: bool = True

    def load(self, to_sample: ArmToSample) -> LoadedArm:
        """The arm's model on this machine's device. Raises UserError where it cannot be loaded or held here."""
        device = pick_device()
        dtype = choose_precision(to_sample.arm.precision, device=device)
        loaded = _load(to_sample, dtype=dtype, device=device)
        way = choose_way(loaded.model, to_sample.tokenizer)
        return TorchArm(
            to_sample.arm,
            loaded,
            to_sample.tokenizer,
            dtype,
            way,
            tuple(_checks(to_sample, loaded, dtype=dtype)),
            _base_unknown(to_sample),
            to_sample.batch_sequences,
        )


def _checks(to_sample: ArmToSample, loaded: Loaded, *, dtype: torch.dtype) -> Iterator[SamplingCheck]:
    """How an adapter was applied, and whether what answers is another model than its base."""
    arm = to_sample.arm
    is_adapter = loaded.moved is not None or loaded.unmerged is not None or arm.adapter is not None
    if is_adapter:
        how = "merged into the weights" if loaded.unmerged is None else f"beside the weights: {loaded.unmerged}"
        yield SamplingCheck("adapter", True, how)
    name: Literal["other than its base"] = "other than its base"
    if loaded.moved is not None:
        if loaded.moved > UNMOVED:
            yield SamplingCheck(
                name, True, f"its adapter moves logits by up to {loaded.moved:.2g} of their largest"
            )
        else:
            yield SamplingCheck(name, False, "its adapter changes nothing: its logits are its base's")
    elif is_adapter:
        yield SamplingCheck(name, None, "its adapter cannot be taken out of force to compare")
    elif to_sample.folder is not None or arm.has_own_model:
        same = holds_weights_of(loaded.model, arm.base)
        text = f"its weights are those of {arm.base}, at {dtype_name(dtype)}"
        if same is None:
            text = f"the weights of {arm.base} are not on this machine to compare"
        elif not same:
            text = "its weights are others"
        yield SamplingCheck(name, None if same is None else not same, text)


def _base_unknown(to_sample: ArmToSample) -> str | None:
    arm = to_sample.arm
    if arm.adapter is None or to_sample.folder is not None or to_sample.merged is not None:
        return None
    return why_base_unknown(adapter_config(arm.adapter).get("base_model_name_or_path") or "", arm.model)


def _load(to_sample: ArmToSample, *, dtype: torch.dtype, device: torch.device) -> Loaded:
    arm, folder, trusted = to_sample.arm, to_sample.folder, to_sample.trust_remote_code
    if folder is not None:
        method = arm.keys.tuning
        if method.base_bits is not None:
            check_quantize(device=device)
        where = Where(base=arm.model, dtype=dtype, device=device, trust_remote_code=trusted)
        return half_of(method).load(method, where, folder=folder)
    source: dict[str, Any] = {"device": device, "trust_remote_code": trusted}
    if to_sample.merged is not None:
        return Loaded(load_model(str(to_sample.merged), dtype=dtype, **source))
    if arm.adapter is not None:
        found = load_adapter(arm.model, adapter=arm.adapter, dtype=dtype, foreign=True, **source)
        return Loaded(found.model, unmerged=found.unmerged, adapter=arm.adapter, moved=found.moved)
    return Loaded(load_model(arm.model, dtype=dtype, **source))


TORCH_SAMPLER = TorchSampler()
