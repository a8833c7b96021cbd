"""Measure how fast this device trains: the engine's own step on a few layers of the model's own width.

The layers are made with random weights; what they compute does not change how long it takes. The clock is read
wherever one layer hands over to the next, forward and backward, so that a layer's seconds are told from those of
the embedding and the head, and a whole model's follow from a few layers of it. Where that cannot be seen (on a
card, which works behind the program's back; in a model whose layers are not one list), two depths tell them apart.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from finetrial.footprint.beside import Beside
from finetrial.methods.method import TunedMethod
from finetrial.models.batches import MicroBatch, pack, trained_tokens
from finetrial.models.library_calls import quiet
from finetrial.models.loading import fuse_activations
from finetrial.models.own_forward import plain_model
from finetrial.training.arm_setup import TrainingSetup, set_mode, set_up
from finetrial.training.layer_clock import LayerClock
from finetrial.training.optimizer import MasterOptimizer
from finetrial.training.process import kept_heap
from finetrial.training.task import OptimizerName, TuneTask
from finetrial.trial.examples import Encoded

_TIMES, _WARM = 3, 1
# Of the share of a model's FLOPs that one layer has, what it takes of its time at the least. Assumption: a head
# with its loss is no more than twice as slow a FLOP as a layer; two depths that were timed amid noise may say less.
LEAST_LAYER_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSeconds:
    """One micro-batch at the model's whole depth, and the optimizer's step after it."""

    lengths: tuple[int, ...]  # of its examples
    loss_tokens: int
    step_seconds: float  # forward and backward
    forward_seconds: float  # without gradients
    optimizer_seconds: float
    optimizer_parameters: int  # that were stepped in that time


def few_layers(
    config: PretrainedConfig, depth: int, *, dtype: torch.dtype, device: torch.device
) -> PreTrainedModel:
    """A model of that configuration with `depth` layers and random weights.

    They are drawn on the device: for a card a CPU would draw a wide vocabulary's for tens of seconds.
    """
    cut = copy.deepcopy(config)
    cut.num_hidden_layers = depth
    if getattr(cut, "layer_types", None):
        cut.layer_types = cut.layer_types[:depth]
    torch.manual_seed(0)
    with quiet(), device:
        made: Any = AutoModelForCausalLM.from_config(cut, dtype=dtype)
    fuse_activations(made)
    model: PreTrainedModel = made.to(device).eval()
    return model


def examples_of(lengths: Sequence[int], *, loss_tokens: int, vocabulary: int) -> list[Encoded]:
    """Random examples of these lengths, of whose tokens about so many carry loss."""
    generator = torch.Generator().manual_seed(1)
    share, found = loss_tokens / sum(lengths), []
    for number, length in enumerate(lengths):
        first = max(1, min(length - 1, round(length * (1 - share))))
        ids = torch.randint(vocabulary, (length,), generator=generator).tolist()
        found.append(Encoded(str(number), tuple(ids), tuple(i >= first for i in range(length))))
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def middle_seconds(work: Callable[[], object], *, device: torch.device, times: int = _TIMES) -> float:
    """The median time of `work` after a warm-up: a long run takes what is usual, not the least."""
    found = []
    for _ in range(_WARM + times):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        found.append(time.perf_counter() - began)
    return statistics.median(found[_WARM:])


@dataclass(frozen=True, slots=True)
class _Passes:
    """The median seconds of some passes, and of one layer in them; None where layers could not be told apart."""

    seconds: float
    layer_seconds: float | None


@dataclass(frozen=True, slots=True)
class _OneDepth:
    step: _Passes
    forward: _Passes
    optimizer: float
    parameters: int


def measure_training(
    config: PretrainedConfig,
    *,
    method: TunedMethod,
    lengths: Sequence[int],
    loss_tokens: int,
    dtype: torch.dtype,
    device: torch.device,
    depths: Sequence[int],
    least_share: float = 0.0,
    optimizer: OptimizerName = "adamw",
    checkpointing: bool = False,
) -> TrainingSeconds:
    """The seconds of one micro-batch of examples of these lengths, on `depths` layers: the whole depth, or two.

    `least_share` of the greater depth's seconds is a layer's at the least.
    """
    text = config.get_text_config()
    examples = examples_of(lengths, loss_tokens=loss_tokens, vocabulary=text.vocab_size)
    task = TuneTask(
        model="",
        train=examples,
        folder=Path(),
        method=method.model_copy(update={"quantize": None}) if method.base_bits is not None else method,
        optimizer=optimizer,
        checkpointing=checkpointing,
        learning_rate=1e-5,
    )
    measure = partial(_at_depth, config, task, dtype=dtype, device=device)
    with kept_heap():
        found = [measure(depth=depths[-1])]
        if len(depths) > 1 and (found[0].step.layer_seconds is None or found[0].forward.layer_seconds is None):
            found.insert(0, measure(depth=depths[0]))

    def whole(passes: list[_Passes]) -> float:
        deepest, layers = passes[-1], int(text.num_hidden_layers)
        if deepest.layer_seconds is not None:
            return deepest.seconds + deepest.layer_seconds * (layers - depths[-1])
        seconds = [one.seconds for one in passes]
        return at_whole_depth(seconds, depths=depths, whole=layers, least_share=least_share)

    return TrainingSeconds(
        lengths=tuple(lengths),
        loss_tokens=sum(trained_tokens(example) for example in examples),
        step_seconds=whole([one.step for one in found]),
        forward_seconds=whole([one.forward for one in found]),
        optimizer_seconds=found[-1].optimizer,
        optimizer_parameters=found[-1].parameters,
    )


def at_whole_depth(
    seconds: Sequence[float], *, depths: Sequence[int], whole: int, least_share: float = 0.0
) -> float:
    """Seconds of the whole model from those at one or two depths, the lesser first.

    A layer's are the two depths' difference, and no less than `least_share` of the greater depth's.
    """
    if len(depths) == 1:
        return seconds[0] * whole / depths[0]
    layer = max(least_share * seconds[1], (seconds[1] - seconds[0]) / (depths[1] - depths[0]))
    return seconds[1] + layer * (whole - depths[1])


def _at_depth(
    config: PretrainedConfig, task: TuneTask, *, depth: int, dtype: torch.dtype, device: torch.device
) -> _OneDepth:
    # as the methods load their bases: whole matrices that are trained start at float32
    start = dtype if isinstance(task.method.counted(), Beside) else torch.float32
    model = few_layers(config, depth, dtype=start, device=device)
    tokenizer: Any = None  # is only handed on
    setup = set_up(task, model=model, tokenizer=tokenizer, fresh=(), dtype=dtype)
    set_mode(setup.model, training=True, model_dropout=False)
    packed = setup.loss_model.packed
    batches = [pack(task.train)] if packed else [pack([example]) for example in task.train]
    count = sum(trained_tokens(example) for example in task.train)

    def step(begin: Callable[[], None] = _nothing) -> None:
        for batch in batches:
            begin()
            loss = setup.loss_model.loss(setup.loss_model.bring(batch), scale=1.0 / count)
            loss.backward()

    steps = _timed(step, setup, device=device)
    return _OneDepth(
        step=steps,
        forward=_forward_seconds(setup, batches, device=device),
        optimizer=_optimizer_seconds(setup.optimizer, step, step_seconds=steps.seconds, device=device),
        parameters=sum(master.numel() for master in setup.optimizer.masters),
    )


def _nothing() -> None:
    return


def _timed(work: Callable[[Callable[[], None]], object], setup: TrainingSetup, *, device: torch.device) -> _Passes:
    """The seconds of `work` and of a layer in it; `work` says when a pass through the layers begins."""
    clock = LayerClock.of(plain_model(setup.model)) if device.type == "cpu" else None
    if clock is None:
        return _Passes(middle_seconds(lambda: work(_nothing), device=device), None)
    layers = []

    def timed() -> None:
        clock.forget()
        work(clock.begin_pass)
        layers.append(clock.layer_seconds())

    with clock:
        seconds = middle_seconds(timed, device=device)
    told = [one for one in layers[_WARM:] if one is not None]
    return _Passes(seconds, statistics.median(told) if told else None)


def _forward_seconds(setup: TrainingSetup, batches: Sequence[MicroBatch], *, device: torch.device) -> _Passes:
    set_mode(setup.model, training=False, model_dropout=False)

    @torch.no_grad()
    def forward(begin: Callable[[], None]) -> None:
        for batch in batches:
            begin()
            setup.loss_model.loss(setup.loss_model.bring(batch), scale=1.0)

    found = _timed(forward, setup, device=device)
    set_mode(setup.model, training=True, model_dropout=False)
    return found


def _optimizer_seconds(
    optimizer: MasterOptimizer, step: Callable[[], None], *, step_seconds: float, device: torch.device
) -> float:
    """Of an optimizer's step; the second of two, for the first makes the moments."""
    seconds = step_seconds
    for _ in range(2):
        step()
        _wait(device)
        began = time.perf_counter()
        optimizer.step(learning_rate=1e-6, clip=1.0)
        _wait(device)
        seconds = time.perf_counter() - began
    return seconds
