"""What a GPU can do, and the ways of computing that follow from it: one pure function for each choice.

Nothing is run here. What these functions name is tried on the card before it is used (attention_kernels.py).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import torch

from finetrial.errors import UserError

AttentionName = Literal["varlen", "varlen_repeated", "document", "padded"]

_AMPERE = (8, 0)  # first with bfloat16 and with flash attention's kernels
_VOLTA = (7, 0)  # first that Triton makes kernels for
_VARLEN_HEADS, _VARLEN_MULTIPLE = 256, 8  # head sizes that flash attention 2 takes
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class DeviceCapabilities:
    """What decides how a model is computed on a device."""

    kind: str  # cuda, mps, cpu
    name: str | None = None
    capability: tuple[int, int] | None = None  # of a CUDA card
    rocm: bool = False  # an AMD card, which torch calls cuda, too
    memory_bytes: int | None = None
    has_varlen: bool = False  # torch has varlen_attn
    has_triton: bool = False
    built_for: tuple[tuple[int, int], ...] = ()  # card that this torch has kernels for


def device_capabilities(device: torch.device) -> DeviceCapabilities:
    """Read them off."""
    from finetrial.models.kernels.varlen_attention import has_varlen

    triton = importlib.util.find_spec("triton") is not None
    if device.type != "cuda":
        return DeviceCapabilities(device.type, has_varlen=has_varlen(), has_triton=triton)
    found = torch.cuda.get_device_properties(device)
    rocm = torch.version.hip is not None
    built = tuple(
        (int(digits[:-1]), int(digits[-1]))
        for name in ([] if rocm else torch.cuda.get_arch_list())
        if name.startswith(("sm_", "compute_")) and (digits := name.split("_")[1].rstrip("af")).isdigit()
    )
    return DeviceCapabilities(
        "cuda",
        found.name,
        None if rocm else (found.major, found.minor),
        rocm,
        found.total_memory,
        has_varlen(),
        triton,
        built,
    )


def check_card(card: DeviceCapabilities) -> None:
    """Raises UserError where this torch has no kernels for the card: every operation would fail."""
    if card.capability is None or not card.built_for or card.capability >= min(card.built_for):
        return
    least = min(card.built_for)
    raise UserError(
        f"this torch has no kernels for {card.name or 'this card'}",
        got=f"compute capability {card.capability[0]}.{card.capability[1]}",
        expected=f"{least[0]}.{least[1]} or newer",
        fix="Install a torch that was built for this card, or hide it (CUDA_VISIBLE_DEVICES=) and use the CPU.",
    )


def why_no_varlen(card: DeviceCapabilities, *, dtype: torch.dtype, head_size: int) -> str | None:
    """Why attention of a packed row cannot be torch's varlen_attn; None: it can be tried."""
    if card.kind != "cuda":
        return f"there is none for {card.kind}"
    if not card.has_varlen:
        return "this torch has no varlen_attn; 2.10 and newer have"
    if card.rocm:
        return "on ROCm it is not tried"
    if card.capability is None or card.capability < _AMPERE:
        return "it needs compute capability 8.0"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it has no {str(dtype).removeprefix('torch.')}"
    if head_size > _VARLEN_HEADS or head_size % _VARLEN_MULTIPLE:
        return f"it takes heads of at most {_VARLEN_HEADS}, multiples of {_VARLEN_MULTIPLE}, not {head_size}"
    return None


def why_no_triton(card: DeviceCapabilities) -> str | None:
    """Why kernels that are compiled here cannot be used; None: they can be tried."""
    if card.kind != "cuda":
        return f"nothing is compiled for {card.kind}"
    if not card.has_triton:
        return "Triton is not installed"
    if not card.rocm and (card.capability is None or card.capability < _VOLTA):
        return "Triton needs compute capability 7.0"
    return None


def attention_order(
    card: DeviceCapabilities, *, dtype: torch.dtype, head_sizes: tuple[int, ...]
) -> tuple[tuple[AttentionName, str | None], ...]:
    """The ways a packed row may attend on a card, best first, each with why it is left out; the last one runs."""
    found = (why_no_varlen(card, dtype=dtype, head_size=size) for size in head_sizes)
    no_varlen = next((why for why in found if why is not None), None)
    return (
        ("varlen", no_varlen),
        ("varlen_repeated", no_varlen),
        ("document", why_no_triton(card)),
        ("padded", None),
    )


def automatic_precision(card: DeviceCapabilities) -> torch.dtype | None:
    """The precision that `auto` takes by the card's kind; None: a measurement decides."""
    if card.kind == "cuda" and not card.rocm and card.capability is not None and card.capability < _AMPERE:
        return torch.float16
    return None


def logits_at_once(facts_kind: str) -> int:
    """How many logits the loss makes at once.

    A CPU's shared cache may hold 8 million at float32 (32 MiB). A card is only filled by more: 64 million take
    256 MiB at float32, a 30th of what the smallest cards have. Assumption for both.
    """
    return 8 << 20 if facts_kind == "cpu" else 64 << 20
