"""Take a setting's training steps with the engine's own step, on a CPU or a card, and measure bytes and seconds."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.footprint.setting import MICRO_BATCHES, Setting
from finetrial.footprint.adapters import trained_parameters
from finetrial.footprint.flops import step_flops
from finetrial.footprint.shapes import shape_from_config
from finetrial.methods.full.full_method import Full
from finetrial.methods.lora.lora_method import Lora
from finetrial.methods.method import TunedMethod
from finetrial.models.batches import pack, trained_tokens
from finetrial.models.device import DTYPES, matrix_rate
from finetrial.models.loading import fuse_activations
from finetrial.planning.run_times import optimizer_traffic
from finetrial.training.arm_setup import TrainingSetup, set_mode, set_up
from finetrial.training.task import TuneTask
from finetrial.trial.examples import Encoded
from finetrial.workflow.calibration import STEP_SHARE, timed_training, training_rates

VARIED_STEPS = 24
_LOG_SPREAD = 0.4  # of lengths, where they vary: as SciTLDR's abstracts

Step = list[list[Encoded]]  # micro-batches of examples


def method_of(setting: Setting) -> TunedMethod:
    if setting.rank is None:
        return Full()
    return Lora(rank=setting.rank, targets=setting.targets, alpha=2.0 * setting.rank)


def config_of(setting: Setting) -> Any:
    """transformers' configuration: of the family, or of the model in the folder."""
    if not setting.width:
        return AutoConfig.from_pretrained(setting.model)
    content = setting.config()
    return AutoConfig.for_model(content.pop("model_type"), **content)


def _example(name: str, length: int, *, share: float, vocabulary: int, generator: torch.Generator) -> Encoded:
    # the last token is predicted and not read: a row of length + 1 tokens reads `length`
    ids = torch.randint(vocabulary, (length + 1,), generator=generator).tolist()
    first = min(length, length + 1 - round(share * length))
    return Encoded(name, tuple(ids), tuple(j >= first for j in range(length + 1)))


def steps_of(setting: Setting, *, count: int, vocabulary: int) -> list[Step]:
    """The examples of `count` steps: always the same lengths, or other ones in every micro-batch."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for number in range(count):
        step: Step = []
        for micro in range(MICRO_BATCHES):
            lengths = [setting.length] * setting.rows
            if setting.varied:
                lengths = _lengths(setting, generator)
            step.append(
                [
                    _example(
                        f"{number}-{micro}-{place}",
                        length,
                        share=setting.loss_share,
                        vocabulary=vocabulary,
                        generator=generator,
                    )
                    for place, length in enumerate(lengths)
                ]
            )
        found.append(step)
    return found


def _lengths(setting: Setting, generator: torch.Generator) -> list[int]:
    """Examples that fill a row of `rows` x `length` tokens as far as whole ones do."""
    left, found = setting.rows * setting.length, []
    while left >= 24:
        drawn = float(torch.randn((), generator=generator))
        length = min(left, max(16, round(setting.length * math.exp(_LOG_SPREAD * drawn))))
        found.append(length)
        left -= length
    return found


def task_of(setting: Setting, steps: list[Step], *, base: str, folder: Path) -> TuneTask:
    return TuneTask(
        model=base,
        train=[example for step in steps for row in step for example in row],
        folder=folder,
        method=method_of(setting),
        precision=setting.dtype,
        checkpointing=setting.checkpointing,
        learning_rate=1e-5,
    )


def made(setting: Setting, task: TuneTask, *, device: torch.device) -> TrainingSetup:
    """The setting's model at random weights made on the device, ready for its first step."""
    dtype = DTYPES[setting.dtype]
    torch.manual_seed(0)
    with torch.device(device):
        start = torch.float32 if setting.rank is None else dtype  # as the methods read their bases
        model = AutoModelForCausalLM.from_config(config_of(setting), dtype=start).eval()
    fuse_activations(model)
    ready = set_up(task, model=model, tokenizer=None, fresh=(), dtype=dtype)  # type: ignore[arg-type]
    set_mode(ready.model, training=True, model_dropout=False)
    return ready


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_step(ready: TrainingSetup, step: Step) -> float:
    """One optimizer step over its micro-batches, as the engine's loop takes it; returns its seconds."""
    wait(ready.device)
    began = time.perf_counter()
    count = sum(trained_tokens(example) for row in step for example in row)
    for row in step:
        batches = [row] if ready.loss_model.packed else [[example] for example in row]
        for examples in batches:
            batch = ready.loss_model.bring(pack(examples))
            ready.loss_model.loss(batch, scale=1.0 / count).backward()
    ready.optimizer.step(learning_rate=1e-5, clip=1.0)
    wait(ready.device)
    return time.perf_counter() - began


def facts(ready: TrainingSetup) -> dict[str, Any]:
    """What the model took, beside bytes and seconds."""
    return {
        "packed": ready.loss_model.packed,
        "fast_paths": [path.name for path in ready.loss_model.fast_paths if path.on],
        "trained_parameters": ready.trained_parameters,
    }


def planned_step_seconds(setting: Setting, *, device: torch.device, seconds: float) -> float:
    """A step by rates that were just measured at the model's own shapes, within about so many seconds."""
    config, method = config_of(setting), method_of(setting)
    shape, counted = shape_from_config(config.to_dict()), method.counted()
    assert counted is not None
    lengths = (setting.length + 1,) * setting.rows
    loss_tokens = round(setting.loss_share * setting.length * setting.rows)
    dtype = DTYPES[setting.dtype]
    timed = timed_training(
        config,
        shape=shape,
        method=method,
        lengths=lengths,
        loss_tokens=loss_tokens,
        dtype=setting.dtype,
        device=device,
        optimizer="adamw",
        checkpointing=setting.checkpointing,
        step_rate=matrix_rate(dtype, device=device) * STEP_SHARE,
        seconds=seconds,
    )
    rates = training_rates(
        timed, shape=shape, method=counted, dtype=setting.dtype, checkpointing=setting.checkpointing
    )
    flops = step_flops(
        shape, method=counted, lengths=lengths, loss_tokens=loss_tokens, checkpointing=setting.checkpointing
    ).total
    traffic = optimizer_traffic(trained_parameters(shape, method=counted), dtype_bytes=dtype.itemsize)
    return MICRO_BATCHES * flops / rates.step_flops + traffic / rates.optimizer_bandwidth


def timed_steps(ready: TrainingSetup, steps: list[Step]) -> float:
    """The median seconds of the steps behind the first, which makes kernels and moments."""
    found = [take_step(ready, step) for step in steps]
    return statistics.median(found[1:] or found)
