"""Name what a tape counts: kinds of tensors, storages, values, weights, peaks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a tensor is for, as a report names it."""

    weights = "weights"
    adapters = "adapter weights"
    masters = "float32 masters"
    gradients = "gradients"
    states = "optimizer states"
    gathered = "gathered weights"
    summing = "gradients being summed"
    inputs = "token ids and positions"
    residuals = "residual stream"
    norms = "norms"
    projections = "q, k and v"
    attention = "attention outputs"
    mlp = "gate, up and product"
    activation = "activation function"
    low_rank = "adapter activations"
    loss = "logits and loss"
    flowing = "gradients of activations"
    cache = "keys and values kept"
    temporaries = "temporaries"
    workspace = "workspace of the matrix library"


@dataclass(slots=True, eq=False)
class Storage:
    size: int
    kind: Kind
    holds: int = 1
    place: int = -1  # of an allocator's block, where one is replayed


@dataclass(slots=True, eq=False)
class Value:
    """A tensor, perhaps a view of a larger one. `wanted`: a gradient flows to it. `made_of`: what would keep it for
    backward keeps these instead and makes it again."""

    storage: Storage
    size: int
    wanted: bool
    made_of: tuple[Storage, ...] = ()


@dataclass(slots=True, eq=False)
class Weight:
    """A parameter, or several that come together. `entries` at `width` bytes each."""

    entries: int
    width: int
    trained: bool
    uses: int = 1  # how often a pass uses it; its gradients wait for one another
    parts_seen: int = 0
    waiting: Storage | None = None


@dataclass(frozen=True, slots=True)
class Peak:
    """The bytes alive at one instant, by kind."""

    moment: str
    total_bytes: int
    by_kind: dict[Kind, int]
