"""Count the seconds, energy and price of a training step and of sampling from FLOPs, bytes and a device's rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from finetrial.footprint.adapters import Method, trained_parameters
from finetrial.footprint.devices import BANDWIDTH_SHARE, LINK_SHARE, STEP_SHARE, Device
from finetrial.footprint.flops import sampling_flops, step_flops
from finetrial.footprint.optimizer_bytes import ADAMW_TRAFFIC_BYTES
from finetrial.footprint.resident_bytes import weight_bytes
from finetrial.footprint.shares import shares_of
from finetrial.footprint.structure import Shape
from finetrial.footprint.training_memory import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a device does in a second, in a training step, all its work included."""

    step_flops: float  # useful FLOPs of forward and backward
    bandwidth: float  # bytes
    is_rough: bool  # from a table, not measured on the device
    source: str
    watts: float | None = None
    link: float | None = None  # bytes to other devices, in one direction
    link_source: str | None = None


def rates_of(device: Device) -> Rates:
    """A device's rates by the makers' figures and the share of them that a step reaches."""
    return Rates(
        step_flops=device.matrix_flops * STEP_SHARE,
        bandwidth=device.bandwidth * BANDWIDTH_SHARE,
        is_rough=True,
        source=f"{device.source}; {STEP_SHARE:.0%} of the rate, measured on an H200, elsewhere an assumption",
        watts=device.watts,
        link=device.link * LINK_SHARE,
        link_source=f"{device.link_source}; {LINK_SHARE:.0%} of the rate, an assumption, and no work meanwhile",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """One micro-batch on every device and the optimizer's step after it."""

    tokens: int  # of one device
    flops: int
    micro_batch_seconds: float
    optimizer_seconds: float
    devices: int = 1
    pass_link_seconds: float = 0.0  # of a micro-batch: weights gathered, gradients summed
    step_link_seconds: float = 0.0  # of a step: gradients summed where every device holds everything

    def tokens_per_second(self, *, micro_batches: int = 1) -> float:
        """Of all devices, with `micro_batches` to a step on each. Nothing is computed while something is sent."""
        a_step = self.optimizer_seconds + self.step_link_seconds
        seconds = self.micro_batch_seconds + self.pass_link_seconds + a_step / micro_batches
        return self.devices * self.tokens / seconds

    def seconds_for(self, tokens: float, *, micro_batches: int = 1) -> float:
        """For training on that many tokens."""
        return tokens / self.tokens_per_second(micro_batches=micro_batches)


def step_time(shape: Shape, training: Training, *, rates: Rates) -> StepTime:
    """Seconds by FLOPs over the rate, and the optimizer's traffic over the bandwidth.

    AdamW in float32 moves 28 bytes a parameter; narrow parameters are written besides, and the gradients' sums
    are read once for their norm. Of several devices each computes a micro-batch of its own; where they share the
    model out each steps its share.
    """
    row = training.row
    flops = step_flops(
        shape,
        method=training.method,
        lengths=row.lengths,
        loss_tokens=row.loss_tokens,
        checkpointing=training.checkpointing,
    ).total
    trained = trained_parameters(shape, method=training.method)
    traffic = trained * (ADAMW_TRAFFIC_BYTES + 4 + (2 if training.dtype_bytes < 4 else 0))
    if training.sharded:
        traffic //= training.devices
    sent = link_bytes(
        shape,
        method=training.method,
        dtype_bytes=training.dtype_bytes,
        devices=training.devices,
        sharded=training.sharded,
    )
    link = rates.link or math.inf
    return StepTime(
        tokens=row.tokens,
        flops=flops,
        micro_batch_seconds=flops / rates.step_flops,
        optimizer_seconds=traffic / rates.bandwidth,
        devices=training.devices,
        pass_link_seconds=sent.of_pass / link,
        step_link_seconds=sent.of_step / link,
    )


@dataclass(frozen=True, slots=True)
class LinkBytes:
    """What a device sends to the others: with every micro-batch, and with every step."""

    of_pass: float
    of_step: float


def link_bytes(shape: Shape, *, method: Method, dtype_bytes: int, devices: int, sharded: bool) -> LinkBytes:
    """Of n devices each sends (n - 1) / n of what is gathered or summed.

    A sharded pass gathers the layers' weights forward and again backward, the rest once, and sums the trained
    weights' gradients in float32. Where every device holds everything, a step sums the gradients and hands the sums
    to all: twice as much.
    """
    others = (devices - 1) / devices
    if devices == 1:
        return LinkBytes(0.0, 0.0)
    if not sharded:
        return LinkBytes(0.0, 2 * others * 4 * trained_parameters(shape, method=method))
    shares = shares_of(shape, method, devices=devices)
    gathered = 2 * shares.gathered - shares.rest.gathered
    return LinkBytes(others * (dtype_bytes * gathered + 4 * shares.summed), 0.0)


def sampling_seconds(
    shape: Shape,
    *,
    prompt_tokens: int,
    new_tokens: int,
    prompts: int,
    per_prompt: int,
    batch: int,
    dtype_bytes: int,
    rates: Rates,
) -> float:
    """Seconds to sample, at least: a decoding step reads the weights once and each sequence's keys and values."""
    batches = -(-prompts * per_prompt // batch)
    flops = (
        prompts * sampling_flops(shape, prompt_tokens=prompt_tokens, sample_tokens=[new_tokens] * per_prompt).total
    )
    cache = 2 * dtype_bytes * sum(shape.kv_heads * shape.head_size for _ in shape.layers)
    mean_length = prompt_tokens + new_tokens / 2
    read = new_tokens * (
        batches * weight_bytes(shape, dtype_bytes=dtype_bytes) + prompts * per_prompt * cache * mean_length
    )
    return flops / rates.step_flops + read / rates.bandwidth


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What some seconds take. None where nothing says what an hour or a kilowatt-hour costs."""

    seconds: float
    kilowatt_hours: float | None
    money: float | None


def price_of(seconds: float, *, watts: float | None = None, hour: float | None = None) -> Price:
    """Energy from watts, money from the price of an hour."""
    return Price(
        seconds=seconds,
        kilowatt_hours=None if watts is None else watts * seconds / 3.6e6,
        money=None if hour is None else hour * seconds / 3600,
    )
