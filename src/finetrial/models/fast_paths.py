"""Say which fast paths there are for the device that tuning would use, and which of them a model takes."""

from __future__ import annotations

from finetrial.models.device import choose_precision, pick_device
from finetrial.models.forward import probe
from finetrial.models.kernels.kernel_table import kernels_for
from finetrial.models.loading import load_model
from finetrial.store.records import FastPath

_IF_RIGHT = "for a model that has such modules and computes the same by them in float32"


def fast_paths(model: str | None = None) -> tuple[FastPath, ...]:
    """Of a model, as its probe finds them; without one, what the device and its precision allow."""
    device = pick_device()
    dtype = choose_precision("auto", device=device)
    if model is not None:
        return probe(load_model(model, dtype=dtype, device=device)).fast_paths
    found = ((kernel.name, kernel.cannot(device, dtype)) for kernel in kernels_for(device))
    return tuple(FastPath(name, on=reason is None, reason=reason or _IF_RIGHT) for name, reason in found)
