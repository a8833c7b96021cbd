"""Put fast paths in place of a model's own modules, each checked against the module it replaces, in float32.

A `Kernel` says where it can run, which modules it could stand for, and how they would compute. Nothing is replaced
for its class's name alone: on the float32 copy of a model's first layers (float32_copy.py), the first module of
every kind must give what its own code gives, values and gradients. A module that passed is changed in one place,
`forward`; names, weights and what is saved stay. `restore_modules` brings the model's own code back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from finetrial.models.kernels.float32_copy import module_kind
from finetrial.store.records import FastPath


def why_not_on_cpu(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why such a path is of no use on a device at a precision; None: it is of use."""
    if device.type != "cpu":
        return f"it is made for a CPU; on {device.type} torch's own stays"
    if dtype != torch.bfloat16:
        return f"it is made for bfloat16; at {str(dtype).removeprefix('torch.')} torch's own is as fast"
    return None


def why_not_at_half_precision(device: torch.device, dtype: torch.dtype) -> str | None:
    """The same of a path that is made for a CPU and for a CUDA card, there at both half precisions."""
    if device.type != "cuda":
        return why_not_on_cpu(device, dtype)
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it is made for half precisions; at {str(dtype).removeprefix('torch.')} torch's own stays"
    return None


def in_cpu_training(x: torch.Tensor) -> bool:
    """Whether gradients are being made at bfloat16 on a CPU; evaluation and sampling keep torch's own."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled()


def in_half_training(x: torch.Tensor) -> bool:
    """Whether gradients are being made where `why_not_at_half_precision` allows it."""
    on_card = x.device.type == "cuda" and x.dtype != torch.float32 and torch.is_grad_enabled()
    return on_card or in_cpu_training(x)


Forward = Callable[..., Any]  # takes the module first, as a method does
Inputs = tuple[tuple[Any, ...], dict[str, Any]]

ABSENT = "the model has none"  # of the modules that a fast path is for

# Relative differences in float32 that another order of the same operations explains: 2e-6 at most was seen in
# values, 2e-5 in gradients. Assumption
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Kernel:
    """One fast path for a kind of module."""

    name: str
    cannot: Callable[[torch.device, torch.dtype], str | None]  # why it is of no use there; None: it is of use
    # such a module's faster forward, or several of which one must be right; none: it is of another kind
    fast: Callable[[nn.Module], Forward | tuple[Forward, ...] | None]
    inputs: Callable[[nn.Module, torch.Generator], Inputs]  # what to compare the two with, float32, on the CPU
    when: Callable[[torch.Tensor], bool]  # for which first input; else the module's own code runs


def near(found: torch.Tensor, expected: torch.Tensor, *, tolerance: float = TOLERANCE) -> bool:
    """Whether two tensors are the same but for rounding: in norm, relative."""
    if found.shape != expected.shape:
        return False
    difference = (found.double() - expected.double()).norm()
    return bool(difference <= tolerance * expected.double().norm().clamp(min=1e-30))


def _first(value: Any) -> torch.Tensor:
    while isinstance(value, (tuple, list)):
        value = value[0]
    assert isinstance(value, torch.Tensor)
    return value


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _compare(module: nn.Module, forward: Forward, inputs: Inputs) -> str | None:
    """Why the two ways of computing differ; None where they agree."""
    args, kwargs = inputs
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    args, kwargs = _moved(args, device), {name: _moved(value, device) for name, value in kwargs.items()}
    params = [p for p in module.parameters() if p.is_floating_point()]
    asked = [(p, p.requires_grad) for p in params]
    try:
        with torch.enable_grad():
            for param in params:
                param.requires_grad_(True)
            results = []
            for run in (type(module).forward, forward):
                given = tuple(
                    a.detach().clone().requires_grad_()
                    if isinstance(a, torch.Tensor) and a.is_floating_point()
                    else a
                    for a in args
                )
                value = _first(run(module, *given, **kwargs))
                upstream = torch.linspace(-1, 1, value.numel(), device=device).view(value.shape).to(value.dtype)
                wanted = [g for g in given if isinstance(g, torch.Tensor) and g.is_floating_point()] + params
                grads = torch.autograd.grad(value, wanted, upstream, allow_unused=True)
                results.append((value.detach(), *grads))
    except Exception as error:  # whatever the module needs that the check does not give it
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}"[:120]
    finally:
        for param, before in asked:
            param.requires_grad_(before)
    for place, (own, fast) in enumerate(zip(*results, strict=True)):
        if (own is None) != (fast is None) or (own is not None and not near(fast, own)):
            return f"differs from the model's own in float32, in {'value' if place == 0 else 'gradient'}"
    return None


def _right_one(module: nn.Module, forwards: tuple[Forward, ...], inputs: Inputs) -> Forward | str:
    """The first of the forwards that agrees with the module's own, or why the last does not."""
    reason = ""
    for forward in forwards:
        found = _compare(module, forward, inputs)
        if found is None:
            return forward
        reason = found
    return reason


class _Placed:
    """Stands as a module's `forward`; a copy of the module has a copy of its own."""

    def __init__(
        self, module: nn.Module, forward: Forward, *, name: str, when: Callable[[torch.Tensor], bool]
    ) -> None:
        self.module, self.fast, self.name, self.when = module, forward, name, when

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else next(iter(kwargs.values()))
        forward = self.fast if self.when(given) else type(self.module).forward
        return forward(self.module, *args, **kwargs)


def always(_: torch.Tensor) -> bool:
    """For every input."""
    return True


def place(module: nn.Module, forward: Forward, *, name: str, when: Callable[[torch.Tensor], bool] = always) -> None:
    """Let `forward` stand in the place of the module's own."""
    module.forward = _Placed(module, forward, name=name, when=when)


def placed(module: nn.Module) -> str | None:
    """The name of the fast path that stands in this module's place."""
    forward = vars(module).get("forward")
    return forward.name if isinstance(forward, _Placed) else None


def every_layer(name: str) -> str:
    """A module's or parameter's name with all layers' numbers alike."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def place_like(model: nn.Module, *, like: nn.Module) -> None:
    """Put in place of this model's modules what stands in a smaller one of the same kind, in whatever layer."""
    found = {every_layer(name): vars(module).get("forward") for name, module in like.named_modules()}
    for name, module in model.named_modules():
        forward = found.get(every_layer(name))
        if isinstance(forward, _Placed):
            place(module, forward.fast, name=forward.name, when=forward.when)


def restore_modules(model: nn.Module) -> None:
    """Bring every module's own code back."""
    for module in model.modules():
        if placed(module) is not None:
            del module.forward


def _candidates(model: nn.Module, kernel: Kernel) -> Iterator[tuple[nn.Module, tuple[Forward, ...]]]:
    """Modules that the kernel could stand for, without those whose forward somebody else has changed."""
    for module in list(model.modules()):
        if "forward" not in vars(module) and (found := kernel.fast(module)):
            yield module, found if isinstance(found, tuple) else (found,)


def install_kernels(
    model: nn.Module,
    *,
    wide: nn.Module,
    kernels: Sequence[Kernel],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[FastPath, ...]:
    """Put every kernel in place that can run there and computes what the model does; returns what became of each.

    `wide` is the model's float32 copy, on which everything is checked and where kernels are put in place, too, for
    every input; on the model they act where `when` says that they are of use.
    """
    records = []
    for kernel in kernels:
        reason = kernel.cannot(device, dtype)
        if reason is not None:
            records.append(FastPath(kernel.name, on=False, reason=reason))
            continue
        verdicts: dict[tuple[Any, ...], Forward | str] = {}  # the forward that is right, or why none is
        generator = torch.Generator().manual_seed(0)
        for module, forwards in _candidates(wide, kernel):
            kind = module_kind(module)
            if kind not in verdicts:
                verdicts[kind] = _right_one(module, forwards, kernel.inputs(module, generator))
            verdict = verdicts[kind]
            if not isinstance(verdict, str):
                place(module, verdict, name=kernel.name)
        kinds: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for module, _ in _candidates(model, kernel):
            verdict = verdicts.get(module_kind(module), "stands in none of the layers that were compared")
            if not isinstance(verdict, str):
                place(module, verdict, name=kernel.name, when=kernel.when)
                kinds[type(module).__name__] += 1
            else:
                refused[f"{type(module).__name__}: {verdict}"] += 1
        said = [f"{count} of {name}" for name, count in kinds.items()] + [
            f"{count} left alone, {name}" for name, count in refused.items()
        ]
        records.append(FastPath(kernel.name, on=bool(kinds), reason="; ".join(said) or ABSENT))
    return tuple(records)
