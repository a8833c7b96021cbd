"""Follow every tensor of a training step without computing it: the model's own class, the engine's own step.

Tensors are torch's fake ones, which have shapes and no data, so that a model of any size is traced on any machine.
A model of one layer is made and probed for real first, since which fast paths are right cannot be seen without
numbers. Two steps of two micro-batches are taken; a storage counts from when an operation makes it until nothing
holds it, and the peak is the second step's. Inside an operation nothing is seen: what is known of that stands in
`_inside`.

It fills torch's and this package's caches with tensors without data: run it in a process that does nothing else.
"""

from __future__ import annotations

import copy
import dataclasses
import gc
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from finetrial.errors import UserError
from finetrial.methods.halves import half_of
from finetrial.methods.method import TunedMethod
from finetrial.methods.torch_half import Attached
from finetrial.models.batches import pack, trained_tokens
from finetrial.models.forward import LossModel
from finetrial.models.kernels.place import every_layer, place_like
from finetrial.models.kernels.private_calls import (
    READ_NUMBER,
    DispatchMode,
    attention_of,
    fake_tensors,
    give_attention,
    memory_key,
    tensors_in,
)
from finetrial.models.library_calls import quiet
from finetrial.models.loading import fuse_activations
from finetrial.training.arm_setup import TrainingSetup, recompute, set_mode, set_up, take_up
from finetrial.training.step_timing import examples_of, few_layers
from finetrial.training.task import OptimizerName, TuneTask
from finetrial.trial.examples import Encoded

_STEPS, _MICRO_BATCHES = 2, 2
_SMALL_VOCABULARY = 256  # of the model that is probed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TracedMemory:
    """The second step's peak, and what stood then by the operation that made it."""

    peak_bytes: int
    standing_bytes: int  # between two steps
    at_peak: dict[str, int]


class _Ledger(DispatchMode):
    """Counts storages while operations make them, and answers what only numbers could."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._alive: dict[int, tuple[int, str]] = {}
        self._at_peak: dict[int, tuple[int, str]] = {}
        self._number = 0
        self._known: dict[int, int] = {}  # storage -> its number

    def start(self) -> None:
        """Look for a new peak."""
        self.peak = 0

    @property
    def at_peak(self) -> dict[str, int]:
        found = Counter[str]()
        for size, name in self._at_peak.values():
            found[name] += size
        return dict(found.most_common())

    def _look(self, *, extra: int = 0, name: str = "") -> None:
        if self.live + extra > self.peak:
            self.peak = self.live + extra
            self._at_peak = dict(self._alive)
            if extra:
                self._at_peak[-1] = (extra, f"inside {name}")

    def _gone(self, key: int, number: int) -> None:
        size, _ = self._alive.pop(number)
        self.live -= size
        if self._known.get(key) == number:
            del self._known[key]

    def _add(self, tensor: torch.Tensor, name: str) -> None:
        key, storage = memory_key(tensor)[0], tensor.untyped_storage()
        if key in self._known:
            return
        self._number += 1
        self._known[key] = self._number
        self._alive[self._number] = (storage.nbytes(), name)
        self.live += storage.nbytes()
        weakref.finalize(storage, self._gone, key, self._number)
        self._look()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is READ_NUMBER:
            return 1.0 if args[0].dtype.is_floating_point else 1
        if func is torch.ops.aten.equal.default:
            return True
        name = str(func).removeprefix("aten.").removesuffix(".default")
        if (extra := _inside(func, args)) > 0:
            self._look(extra=extra, name=name)
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            self._add(tensor, name)
        return result


def _inside(func: Any, args: tuple[Any, ...]) -> int:
    """Bytes that torch's CPU code makes and frees again inside an operation."""
    if func is torch.ops.aten.logsumexp.default:  # the differences to the largest
        return int(args[0].numel() * args[0].element_size())
    if func is torch.ops.aten.add_.Tensor and isinstance(args[1], torch.Tensor):
        one, other = args[0], args[1]
        return int(other.numel() * one.element_size()) if other.element_size() < one.element_size() else 0
    return 0


def traced_memory(
    config: PretrainedConfig,
    *,
    method: TunedMethod,
    lengths: Sequence[int],
    loss_tokens: int,
    dtype: torch.dtype,
    optimizer: OptimizerName = "adamw",
    checkpointing: bool = False,
) -> TracedMemory:
    """The peak of training on micro-batches of examples of these lengths, on a CPU.

    Raises UserError for a model whose step hangs on its numbers, such as a mixture that counts its experts' tokens.
    """
    task = TuneTask(
        model="",
        train=examples_of(lengths, loss_tokens=loss_tokens, vocabulary=_SMALL_VOCABULARY),
        folder=Path(),
        method=method,
        optimizer=optimizer,
        checkpointing=checkpointing,
        learning_rate=1e-5,
    )
    start = torch.float32 if half_of(method).reads_float32 else dtype
    small = _probed(config, task, start=start, dtype=dtype)
    ledger = _Ledger()
    try:
        with quiet():
            attached = _attached(config, task, start=start, dtype=dtype, ledger=ledger)
            with fake_tensors(), ledger:
                _materialise(attached, like=small.model)
                ready = take_up(
                    task,
                    attached.found,
                    tokenizer=small.tokenizer,
                    fresh=(),
                    rate=1e-5,
                    total=attached.total,
                    dtype=dtype,
                    probing=lambda model: _like(model, small.loss_model),
                )
                set_mode(ready.model, training=True, model_dropout=False)
                for _ in range(_STEPS):
                    ledger.start()
                    _step(ready, task.train)
                    standing = ledger.live
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, KeyError) as error:
        raise UserError(
            f"a step of {config.model_type} cannot be traced",
            got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}",
            fix="The answer without --traced is counted from the shape.",
        ) from None
    return TracedMemory(
        peak_bytes=ledger.peak,
        standing_bytes=standing,
        at_peak=ledger.at_peak,
    )


def _probed(config: PretrainedConfig, task: TuneTask, *, start: torch.dtype, dtype: torch.dtype) -> TrainingSetup:
    """One layer for real, with a small vocabulary, and a micro-batch on it: the caches then hold its layout."""
    cut = copy.deepcopy(config)
    cut.get_text_config().vocab_size = _SMALL_VOCABULARY
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        if getattr(cut, name, None) is not None:
            setattr(cut, name, 0)
    model = few_layers(cut, 1, dtype=start, device=torch.device("cpu"))
    tokenizer: Any = None  # is only handed on
    ready = set_up(task, model=model, tokenizer=tokenizer, fresh=(), dtype=dtype)
    set_mode(ready.model, training=True, model_dropout=False)
    _step(ready, task.train)
    return ready


def _step(ready: TrainingSetup, examples: Sequence[Encoded]) -> None:
    """An optimizer step of two micro-batches, as the engine's loop takes it."""
    count = _MICRO_BATCHES * sum(trained_tokens(example) for example in examples)
    for _ in range(_MICRO_BATCHES):
        for row in [examples] if ready.loss_model.packed else [[example] for example in examples]:
            batch = ready.loss_model.bring(pack(row))
            ready.loss_model.loss(batch, scale=1.0 / count).backward()
            gc.collect()  # what only fake tensors leave in cycles
    ready.optimizer.step(learning_rate=1e-5, clip=1.0)


@dataclasses.dataclass(slots=True)
class _Shapes:
    """A model without memory, its method attached."""

    found: Attached
    total: int


def _attached(
    config: PretrainedConfig, task: TuneTask, *, start: torch.dtype, dtype: torch.dtype, ledger: _Ledger
) -> _Shapes:
    with torch.device("meta"):
        made: Any = AutoModelForCausalLM.from_config(config, dtype=start)
        model: PreTrainedModel = made.eval()
        fuse_activations(model)
        total = model.num_parameters()
        if task.checkpointing:
            recompute(model)
        with ledger:  # it answers how many entries of a mask are set
            half = half_of(task.method)
            found = half.attach(model, method=task.method, fresh=(), seed=task.seed, dtype=dtype)
    return _Shapes(found, total)


def _materialise(shapes: _Shapes, *, like: nn.Module) -> None:
    """Give everything in the model fake memory on a CPU; what is shared stays shared.

    Precisions are those of the small model: peft casts no adapter that has no memory.
    """
    dtypes = {every_layer(name): param.dtype for name, param in like.named_parameters()}
    made: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # with the original, so that no id comes twice

    def fake(tensor: torch.Tensor, *, dtype: torch.dtype | None = None) -> torch.Tensor:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype or tensor.dtype, device="cpu")
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=tensor.requires_grad)
            made[id(tensor)] = (new, tensor)
        return made[id(tensor)][0]

    for prefix, module in shapes.found.model.named_modules():
        for name, param in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, fake(param, dtype=dtypes.get(every_layer(f"{prefix}.{name}"))))
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, fake(buffer))
    masters, masks = shapes.found.masters, shapes.found.masks
    shapes.found = dataclasses.replace(
        shapes.found,
        masters=None if masters is None else [fake(master) for master in masters],
        masks={place: fake(mask) for place, mask in masks.items()},
    )


def _like(model: PreTrainedModel | PeftModel, small: LossModel) -> LossModel:
    """The way to the loss that was right for the small model."""
    found = dataclasses.replace(small, model=model, head_sum=None)
    place_like(model, like=small.model)
    if small.packed:
        give_attention(found.base, attention_of(small.base))
    return found
