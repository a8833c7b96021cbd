"""How fast a device works on a model: measured here at the model's own shapes, or roughly, from tables.

Measured rates are kept in the user's cache, under the device, the versions and the shapes they were measured with.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from finetrial.footprint.devices import BANDWIDTH_SHARE, LINK_SHARE, STEP_SHARE, Device
from finetrial.footprint.flops import forward_flops
from finetrial.footprint.inference_memory import cache_bytes
from finetrial.footprint.resident_bytes import weight_bytes
from finetrial.footprint.structure import Shape
from finetrial.store.files import atomic_text
from finetrial.store.hashes import hash_value
from finetrial.store.plan_record import Source
from finetrial.store.user_cache import cache_root

# A decoding step launches each layer's kernels one by one: 27 ms for 30 layers and 256 sequences on an H200, nearly
# all of it launching (SmolLM2-135M's shape, 9,648 tokens a second). For other cards and for CPUs an assumption.
LAYER_SECONDS = 0.9e-3
# Useful FLOPs a second of a training step on one core: LoRA on GPT-2 with two cores of an AMD EPYC with
# AVX512-BF16, 450 tokens of 0.37 GFLOP a second; at float32 products are 2.5 times as slow. Elsewhere an
# assumption.
CORE_FLOPS = {2: 80e9, 4: 32e9}
CORE_BANDWIDTH = 10e9  # bytes a second. Assumption
# Reading keys and values takes so many times their bytes' time on a CPU: 108 ms for 48 sequences of 250 tokens on
# GPT-2, where 10 ms are their bytes over the bandwidth.
_CACHE_SLOWER = 5.0
_RATES_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a device works on one arm's model. Rates are useful FLOPs, of a whole step with all its work."""

    step_flops: float  # forward and backward, a second
    forward_flops: float  # of a loss without gradients, a second
    prefill_flops: float  # of prompts that are read before they are answered, a second
    optimizer_bandwidth: float  # bytes a second
    decode_seconds: float  # of a decoding step, however few sequences
    sequence_seconds: float  # and each sequence of it
    origin: Source
    source: str
    link: float | None = None  # bytes a second to the other devices of several; None: not known
    taken: float | None = None  # processors that others took while it was measured; None: not known, or few


def card_pace(shape: Shape, device: Device, *, dtype_bytes: int, length: int) -> Pace:
    """A card's by the makers' figures and the share that a step reaches; `length` tokens in a sequence."""
    rate, bandwidth = device.matrix_flops * STEP_SHARE, device.bandwidth * BANDWIDTH_SHARE
    token = forward_flops(shape, lengths=[1], head_tokens=1).total
    return Pace(
        step_flops=rate,
        forward_flops=rate,
        prefill_flops=rate,
        optimizer_bandwidth=bandwidth,
        decode_seconds=weight_bytes(shape, dtype_bytes=dtype_bytes) / bandwidth + LAYER_SECONDS * shape.depth,
        sequence_seconds=token / rate + cache_bytes(shape, tokens=length, dtype_bytes=dtype_bytes) / bandwidth,
        origin="table",
        link=device.link * LINK_SHARE,
        source=f"{device.source}; {STEP_SHARE:.0%} of the rate, measured on an H200, elsewhere an assumption",
    )


def cpu_pace(shape: Shape, *, cores: float, dtype_bytes: int, length: int) -> Pace:
    """A processor's by its cores alone."""
    rate, bandwidth = CORE_FLOPS[dtype_bytes] * cores, CORE_BANDWIDTH * cores
    token = forward_flops(shape, lengths=[1], head_tokens=1).total
    cache = cache_bytes(shape, tokens=length, dtype_bytes=dtype_bytes)
    return Pace(
        step_flops=rate,
        forward_flops=rate,
        prefill_flops=rate,
        optimizer_bandwidth=bandwidth,
        decode_seconds=weight_bytes(shape, dtype_bytes=dtype_bytes) / bandwidth + LAYER_SECONDS * shape.depth,
        sequence_seconds=token / rate + _CACHE_SLOWER * cache / bandwidth,
        origin="assumed",
        source=f"{CORE_FLOPS[dtype_bytes] / 1e9:.0f} GFLOP/s a core, measured on an AMD EPYC, here an assumption",
    )


def pace_facts(shape: Shape, *, device: str, dtype: str, setting: Any) -> list[Any]:
    """What measured rates hang on: the device, the versions, the shape, how it is tuned and sampled."""
    sizes = asdict(shape)
    for key in ("name", "published"):
        sizes.pop(key)
    return [device, [_version(name) for name in ("torch", "transformers", "finetrial")], sizes, dtype, setting]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def pace_key(facts: Any) -> str:
    """The name under which rates are kept: of the device, versions, shapes and lengths they were measured with."""
    return hash_value([_RATES_VERSION, facts])[:32]


def keep_pace(key: str, pace: Pace) -> None:
    """Keep measured rates. Where the cache cannot be written the next plan measures again."""
    try:
        atomic_text(cache_root() / "rates" / f"{key}.json", json.dumps(asdict(pace), indent=2))
    except OSError:
        return


def kept_pace(key: str) -> Pace | None:
    """Rates that were measured before; None where there are none."""
    try:
        return Pace(**json.loads((cache_root() / "rates" / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def keep_precision(device: str, precision: str) -> None:
    """Keep what `precision: auto` came to on a device."""
    try:
        atomic_text(_precision_path(device), json.dumps({"device": device, "precision": precision}))
    except OSError:
        return


def kept_precision(device: str) -> str | None:
    """What `precision: auto` came to when it was measured; None where it was not."""
    try:
        return str(json.loads(_precision_path(device).read_text(encoding="utf-8"))["precision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _precision_path(device: str) -> Path:
    return cache_root() / "rates" / f"precision-{hash_value([device, _version('torch')])[:16]}.json"
