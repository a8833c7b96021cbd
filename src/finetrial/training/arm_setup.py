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
from finetrial.store.records import FastPath
from finetrial.training.optimizer import MasterOptimizer
from finetrial.training.process import trim_heap
from finetrial.training.ranks import Ranks, ranks_now
from finetrial.training.sharded_optimizer import ShardedOptimizer, check_sharded
from finetrial.training.sharding import ShardedModel, Sharding, probed_parts, widen
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
    sharded: ShardedModel | None = None  # where several processes share the model out
    saving: Callable[[], contextlib.AbstractContextManager[None]] = (
        contextlib.nullcontext
    )  # while files are written

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


def shards(task: TuneTask, ranks: Ranks) -> bool:
    """Whether the task's model is shared out: where it is asked for, by several processes, of a method that can."""
    return task.sharding and not ranks.is_alone and half_of(task.method).shards


def prepare(task: TuneTask, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
    """Load the task's model and make it setup; where it is shared out, one process of a machine after another."""
    ranks = ranks_now()
    if shards(task, ranks):
        return ranks.in_turns(lambda: _prepare_shared(task, ranks, dtype=dtype, device=device))
    base = load_base(task, dtype=dtype, device=device)
    return set_up(task, model=base.model, tokenizer=base.tokenizer, fresh=base.fresh, dtype=dtype)


def _prepare_shared(task: TuneTask, ranks: Ranks, *, dtype: torch.dtype, device: torch.device) -> TrainingSetup:
    """The whole model is in this process's memory until the device has its share of it."""
    trim_heap()  # of what an arm before this one held
    base = load_base(task, dtype=dtype, device=torch.device("cpu"))
    sharding = Sharding(ranks, device)
    setup = set_up(
        task, model=base.model, tokenizer=base.tokenizer, fresh=base.fresh, dtype=dtype, sharding=sharding
    )
    trim_heap()
    return setup


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
    sharding: Sharding | None = None,
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
    if sharding is not None:
        probed_parts(model, device=sharding.device)
    return take_up(
        task,
        attached,
        tokenizer=tokenizer,
        fresh=fresh,
        rate=rate,
        total=total,
        dtype=dtype,
        probing=probing,
        sharding=sharding,
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
    sharding: Sharding | None = None,
) -> TrainingSetup:
    """Give a model, to which its method is attached, an optimizer and the fastest way to its loss."""
    half, tuned = half_of(task.method), attached.model
    set_mode(tuned, training=False, model_dropout=False)
    if isinstance(tuned, PeftModel) and fresh:
        plain_model(tuned).config.vocab_size = embedding_weight(plain_model(tuned)).shape[0]
    shared = None
    if sharding is not None:
        optimizer: MasterOptimizer
        loss_model, optimizer, shared = _share_out(task, attached, sharding, dtype=dtype, probing=probing)
    else:
        optimizer = _optimizer(task, attached)
        with half.showing(tuned):
            loss_model = probing(tuned)
        loss_model = _with_sums(loss_model, optimizer)
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
        sharded=shared,
    )


def _optimizer(task: TuneTask, attached: Attached) -> MasterOptimizer:
    return MasterOptimizer(
        trained(attached.model),
        name=task.optimizer,
        betas=task.betas,
        weight_decay=task.weight_decay,
        masters=attached.masters,
        masks=attached.masks,
        parts=attached.parts,
        undecayed=attached.undecayed,
    )


def _with_sums(loss_model: LossModel, optimizer: MasterOptimizer) -> LossModel:
    """Sum the gradients of embedding and head into their masters."""
    embedding = loss_model.base.get_input_embeddings()
    summed = sum_rows(embedding, optimizer.sum_of(getattr(embedding, "weight", None)))
    loss_model = dataclasses.replace(loss_model, fast_paths=(*loss_model.fast_paths, summed))
    if loss_model.fused:
        head_sum = optimizer.sum_of(head_weights(loss_model.base)[0])
        loss_model = dataclasses.replace(loss_model, head_sum=head_sum)
    return loss_model


def _share_out(
    task: TuneTask,
    attached: Attached,
    sharding: Sharding,
    *,
    dtype: torch.dtype,
    probing: Callable[[PreTrainedModel | PeftModel], LossModel],
) -> tuple[LossModel, ShardedOptimizer, ShardedModel]:
    """Probe the whole model, then leave this process its share of it."""
    model = attached.model
    assert isinstance(model, PreTrainedModel)
    check_sharded(task.optimizer, weight_decay=task.weight_decay, parts=attached.parts)
    loss_model = probing(model)
    masks = widen(model, attached)
    shared = ShardedModel(model, sharding, dtype=dtype)
    optimizer = ShardedOptimizer(
        shared,
        name=task.optimizer,
        betas=task.betas,
        weight_decay=task.weight_decay,
        masks=masks,
        parts=attached.parts,
    )
    reason = "every process has some rows of every parameter, and gathers a layer for its own pass"
    path = FastPath("sharded over processes", on=True, reason=reason)
    paths = (*loss_model.fast_paths, path)
    return dataclasses.replace(loss_model, through=shared.through, fast_paths=paths), optimizer, shared
