"""Load an arm for training: model, tokenizer, optimizer and the trained parameters."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_layers import GradientCheckpointingLayer

from finetrial.errors import UserError
from finetrial.methods.halves import half_of
from finetrial.methods.torch_half import Attached, Where, trained
from finetrial.models.forward import LossModel, head_weights, probe
from finetrial.models.kernels.gradients import sum_rows
from finetrial.models.library_calls import disk_errors, quiet
from finetrial.models.loading import load_tokenizer
from finetrial.models.own_forward import plain_model, positions_in
from finetrial.models.special_tokens import embedding_weight, fresh_tokens, prepare_rows
from finetrial.training.optimizer import MasterOptimizer
from finetrial.training.task import TuneTask


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """An arm that can take its first step."""

    loss_model: LossModel
    tokenizer: PreTrainedTokenizerBase
    optimizer: MasterOptimizer
    trained_parameters: int
    total_parameters: int
    fresh: Sequence[int]  # ids of new tokens
    special_rows: int  # of which so many are trained beside the method
    learning_rate: float
    dtype: torch.dtype
    device: torch.device
    saving: Callable[[], contextlib.AbstractContextManager[None]] = (
        contextlib.nullcontext
    )  # while weights are written

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        return self.loss_model.model

    def save(self, task: TuneTask) -> None:
        """Write what was trained, and the tokenizer, in their own libraries' layouts."""
        with quiet(), disk_errors(task.folder), self.saving():
            half_of(task.method).save(self.model, method=task.method, fresh=self.fresh, folder=task.folder)
            self.tokenizer.save_pretrained(str(task.folder))


class Make(Protocol):
    """Brings the model of a task into memory."""

    def __call__(self, task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup: ...


def set_mode(model: nn.Module, *, training: bool, model_dropout: bool) -> None:
    """Training mode where something must know of it: adapters' dropout, recomputing layers, and, only when
    asked, the model's own dropout. Everything else stays in eval mode, so that arms differ by method alone."""
    model.train(training and model_dropout)
    if not training:
        return
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.training = True
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
            module.training = True
            if not model_dropout:
                _without_dropout(module)
        if isinstance(module, BaseTunerLayer):
            for name, child in module.named_children():
                if name != "base_layer" and "dropout" in name:
                    child.train()


def _without_dropout(layer: nn.Module) -> None:
    """Set the shares that a layer drops of its own accord to 0: OPT's and others' ask whether the layer trains."""
    for name, value in vars(layer).items():
        if "drop" in name and isinstance(value, float):
            setattr(layer, name, 0.0)


def recompute(model: PreTrainedModel) -> None:
    """Let the model's layers be computed again in the backward pass. Raises UserError for one that cannot."""
    if not model.supports_gradient_checkpointing:
        raise UserError(
            f"{model.config.model_type} cannot recompute its activations", fix="Set training.checkpointing: false."
        )
    with quiet():  # renamed in transformers 5; both names are there
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _check_fits(task: TuneTask, model: PreTrainedModel) -> None:
    context = positions_in(model.config)
    if context is None:
        return
    for example in (*task.train, *task.validation):
        if len(example.token_ids) > context + 1:
            raise UserError(
                f"the example {example.example_id} is longer than the model's context",
                got=f"{len(example.token_ids)} tokens",
                expected=f"at most {context}",
                fix="Lower data.max_tokens, with overlong: cut to keep such rows.",
            )


@dataclass(frozen=True, slots=True)
class Base:
    """A model as it was loaded, with room for the new tokens, and nothing trained yet."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fresh: Sequence[int]  # ids of tokens that are new to it


def prepare(task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
    """Load the task's model and make it setup."""
    base = load_base(task, dtype=dtype, device=device)
    return set_up(task, model=base.model, tokenizer=base.tokenizer, fresh=base.fresh, dtype=dtype)


def load_base(task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> Base:
    """Load what the task's arm starts from."""
    source: dict[str, Any] = {"revision": task.revision, "trust_remote_code": task.trust_remote_code}
    tokenizer = load_tokenizer(task.model, special_tokens=task.special_tokens, **source)
    fresh: Sequence[int] = ()
    known = len(tokenizer)
    if task.special_tokens:
        base = load_tokenizer(task.model, **source)
        fresh = fresh_tokens(tokenizer, base=base, special_tokens=task.special_tokens)
        known = len(base)
    where = Where(base=task.model, dtype=dtype, device=device, **source)
    model = half_of(task.method).load_base(task.method, where)
    prepare_rows(model, tokens=len(tokenizer), fresh=fresh, known=known)
    return Base(model, tokenizer, fresh)


def set_up(
    task: TuneTask,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    fresh: Sequence[int],
    dtype: torch.dtype,
    probing: Callable[[PreTrainedModel | PeftModel], LossModel] = probe,
) -> TrainingSetup:
    """Make a model in memory setup, read as the method reads its base."""
    _check_fits(task, model)
    total = model.num_parameters()  # four-bit weights counted one by one
    width = embedding_weight(model).shape[1]
    if task.checkpointing:
        recompute(model)
    rate = task.method.default_learning_rate(width) if task.learning_rate is None else task.learning_rate
    half = half_of(task.method)
    attached = half.attach(model, method=task.method, fresh=fresh, seed=task.seed, dtype=dtype)
    return take_up(
        task, attached, tokenizer=tokenizer, fresh=fresh, rate=rate, total=total, dtype=dtype, probing=probing
    )


def take_up(
    task: TuneTask,
    attached: Attached,
    *,
    tokenizer: PreTrainedTokenizerBase,
    fresh: Sequence[int],
    rate: float,
    total: int,
    dtype: torch.dtype,
    probing: Callable[[PreTrainedModel | PeftModel], LossModel] = probe,
) -> TrainingSetup:
    """Give a model, to which its method is attached, an optimizer and the fastest way to its loss."""
    half, tuned = half_of(task.method), attached.model
    set_mode(tuned, training=False, model_dropout=False)
    if isinstance(tuned, PeftModel) and fresh:
        plain_model(tuned).config.vocab_size = embedding_weight(plain_model(tuned)).shape[0]
    optimizer = MasterOptimizer(
        trained(tuned),
        name=task.optimizer,
        betas=task.betas,
        weight_decay=task.weight_decay,
        masters=attached.masters,
        masks=attached.masks,
        parts=attached.parts,
        undecayed=attached.undecayed,
    )
    with half.showing(tuned):
        loss_model = probing(tuned)
    embedding = loss_model.base.get_input_embeddings()
    summed = sum_rows(embedding, optimizer.sum_of(getattr(embedding, "weight", None)))
    loss_model = dataclasses.replace(loss_model, fast_paths=(*loss_model.fast_paths, summed))
    if loss_model.fused:
        head_sum = optimizer.sum_of(head_weights(loss_model.base)[0])
        loss_model = dataclasses.replace(loss_model, head_sum=head_sum)
    return TrainingSetup(
        loss_model=loss_model,
        tokenizer=tokenizer,
        optimizer=optimizer,
        trained_parameters=attached.parameters,
        total_parameters=total,
        fresh=fresh,
        special_rows=attached.special_rows,
        learning_rate=rate,
        dtype=dtype,
        device=loss_model.base.device,
    )
