"""Answer what `finetrial footprint` asks, of a model known by name or of a shape.

A way of tuning is written as one word: full, matrices:q,v or lora:4:q,v. Bytes and counts are numbers or texts such
as "24GB" and "175B".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Method, trained_parameters
from finetrial.footprint.devices import Device, device_named
from finetrial.footprint.memory_plan import MemoryPlan, Remedy, Sampling, memory_plan, remedies, sequences_that_fit
from finetrial.footprint.method_words import Spec, parse_spec
from finetrial.footprint.shapes import named_shape, shape_from_config
from finetrial.footprint.sharded_memory import can_shard
from finetrial.footprint.step_seconds import Rates, StepTime, rates_of, step_time
from finetrial.footprint.stored_bytes import RankAnswer, Storage, largest_rank
from finetrial.footprint.stored_bytes import storage as stored_as
from finetrial.footprint.structure import Shape
from finetrial.footprint.training_memory import Training
from finetrial.units import parse_bytes, parse_count, parse_share

Model = str | Shape | Mapping[str, Any]


def shape(model: Model) -> Shape:
    """The shape of a model: by a name or hub id that is known, or from the content of its config.json.

    `finetrial.load_shape` reads folders, GGUF files and the hub. Raises UserError for what is not known.
    """
    if isinstance(model, Shape):
        return model
    return named_shape(model) if isinstance(model, str) else shape_from_config(model)


def one_method(method: str | Method) -> Method:
    """A way of tuning by its word. Raises UserError where the word names several ranks."""
    if not isinstance(method, str):
        return method
    specs = parse_spec(method)
    if len(specs) > 1:
        raise UserError("a way of tuning takes one rank here", got=repr(method), expected="lora:4:q,v")
    return specs[0].method


def storage(
    model: Model | float, *, method: str | Method = "full", dtype: str = "bfloat16", copies: int = 1
) -> Storage:
    """The bytes of copies of what is stored for a task; in place of a model, a number of parameters."""
    chosen = one_method(method)
    if isinstance(model, (int, float)):
        if not isinstance(chosen, Full):
            raise UserError("a number of parameters has no matrices", got=str(method), expected="a model")
        return stored_as(parse_count(model), dtype=dtype, copies=copies)
    return stored_as(trained_parameters(shape(model), method=chosen), dtype=dtype, copies=copies)


def rank(
    model: Model,
    *,
    targets: Sequence[str],
    budget: str | float | None = None,
    same_as: str | Method | None = None,
    dtype: str = "bfloat16",
) -> RankAnswer:
    """The largest LoRA rank whose adapter fits a budget in bytes, or the bytes of another way of tuning.

    Raises AnswerIsNo where not even rank 1 fits.
    """
    if (budget is None) == (same_as is None):
        raise UserError("give --budget or --same-as, one of the two", expected="36MiB, or lora:4:q,v")
    found = shape(model)
    if same_as is not None:
        size = stored_as(trained_parameters(found, method=one_method(same_as)), dtype=dtype).bytes_per_copy
    else:
        assert budget is not None
        size = parse_bytes(budget, what="--budget")
    return largest_rank(found, targets=targets, budget_bytes=size, dtype=dtype)


def compare(
    model: Model, methods: Sequence[str | Spec], *, dtype: str = "bfloat16", copies: int = 1
) -> dict[str, Storage]:
    """The bytes of several ways of tuning, by their words or as those were read; several ranks give a row each."""
    found, rows = shape(model), dict[str, Storage]()
    for spec in (s for one in methods for s in ((one,) if isinstance(one, Spec) else parse_spec(one))):
        if spec.label in rows:
            raise UserError("a method is named twice", got=spec.label)
        rows[spec.label] = storage(found, method=spec.method, dtype=dtype, copies=copies)
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFootprint:
    """The memory and time that training takes, and what would make a misfit fit."""

    shape: Shape
    training: Training
    plan: MemoryPlan
    memory_bytes: int | None  # of the device; None: nobody said
    fits: bool | None  # None without a device's memory
    changes: tuple[Remedy, ...]  # that would make it fit; empty where it does
    sequences: int | None  # that can be sampled at once
    time: StepTime | None  # of one step; None without a device whose rates are known
    rates: Rates | None


def train(
    model: Model,
    *,
    length: int,
    method: str | Method,
    memory: str | float | None = None,
    device: str | None = None,
    micro_batch: int = 1,
    checkpointing: bool = False,
    quantize: str | None = None,
    optimizer: str = "adamw",
    dtype: str = "bfloat16",
    loss_share: str | float = 1.0,
    new_tokens: int = 1,
    devices: int = 1,
) -> TrainingFootprint:
    """The memory and time of training on examples of `length` tokens, and what would make a misfit fit.

    `memory` is the device's, unless `device` (cpu, or a card by name) says. Of several `devices` each has its own
    micro-batch and that memory; where one is too small for what is tuned, or its memory is not known, they share it
    out. Raises UserError for what training would refuse.
    """
    found = shape(model)
    card, on_cpu = _device(device)
    training = Training(
        method=one_method(method),
        length=length,
        rows=micro_batch,
        loss_share=parse_share(loss_share, what="--loss-share"),
        dtype=dtype,
        optimizer=optimizer,
        checkpointing=checkpointing,
        quantize=quantize,
        device="cpu" if on_cpu else "cuda",
        hopper=card is not None and card.is_hopper,
        devices=devices,
    )
    _check(training, on_cpu=on_cpu, context=found.context, new_tokens=new_tokens)
    memory_bytes = None if memory is None else parse_bytes(memory, what="--memory")
    if memory_bytes is None and card is not None:
        memory_bytes = card.memory_bytes
    sampling = Sampling(prompt_tokens=max(1, length - new_tokens), new_tokens=new_tokens)
    plan = memory_plan(found, training, sampling=sampling)
    too_small = memory_bytes is None or plan.needed_bytes > memory_bytes
    if devices > 1 and too_small and can_shard(training.method, optimizer=optimizer):
        training = replace(training, sharded=True)
        plan = memory_plan(found, training, sampling=sampling)
    fits = None if memory_bytes is None else plan.needed_bytes <= memory_bytes
    changes: tuple[Remedy, ...] = ()
    sequences = None
    if memory_bytes is not None:
        sequences = sequences_that_fit(found, training, sampling=sampling, memory_bytes=memory_bytes)
        if not fits:
            changes = remedies(found, training, memory_bytes=memory_bytes, needed_bytes=plan.needed_bytes)
    rates = None if card is None else rates_of(card)
    return TrainingFootprint(
        shape=found,
        training=training,
        plan=plan,
        memory_bytes=memory_bytes,
        fits=fits,
        changes=changes,
        sequences=sequences,
        time=None if rates is None else step_time(found, training, rates=rates),
        rates=rates,
    )


def _device(name: str | None) -> tuple[Device | None, bool]:
    """The card of that name; whether the device is a CPU. Without a name: some card on CUDA."""
    if name is None:
        return None, False
    if name.lower() == "cpu":
        return None, True
    return device_named(name), False


def _check(training: Training, *, on_cpu: bool, context: int | None, new_tokens: int) -> None:
    """Refuse what the engine would refuse."""
    training.dtype_bytes  # noqa: B018 -- an unknown precision raises
    if on_cpu and training.quantize is not None:
        raise UserError("four bits need a CUDA card", fix="Leave out --quantize, or name another --device.")
    if on_cpu and training.optimizer == "adamw8bit":
        raise UserError("8-bit moments need a CUDA card", fix="Use --optimizer adamw.")
    if context is not None and training.length > context:
        raise UserError(
            "the examples are longer than the model's context",
            got=f"--length {training.length}",
            expected=f"at most {context}",
        )
    if not 1 <= new_tokens <= training.length:
        raise UserError("invalid --new-tokens", got=new_tokens, expected=f"from 1 to {training.length}")
