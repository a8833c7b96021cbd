"""Define the torch half of a method: how it attaches to a model, is saved, loaded, merged and counted.

Torch stands in this file and in the `*_torch` modules of the methods' folders; `halves.half_of` imports them.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from peft import PeftModel
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from finetrial.footprint.adapters import Method as Counted
from finetrial.footprint.beside import Beside
from finetrial.footprint.structure import Rows
from finetrial.methods.method import TunedMethod
from finetrial.methods.model_targets import check_targets
from finetrial.models.loading import load_model

AnyMethod = TypeVar("AnyMethod", bound=TunedMethod)


@dataclass(frozen=True, slots=True)
class Part:
    """A slice of a parameter that is trained alone: [start, stop) of each of `groups` parts of a dimension."""

    dimension: int
    start: int
    stop: int
    groups: int = 1

    @classmethod
    def of_rows(cls, rows: Rows, *, dimension: int = 0) -> Self:
        """A target's output rows, which stand along `dimension`."""
        return cls(dimension, rows.start, rows.stop, rows.groups)

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The slice, as a view; of several groups it has a dimension more."""
        if self.groups == 1:
            return tensor.narrow(self.dimension, self.start, self.stop - self.start)
        parts: torch.Tensor = tensor.unflatten(self.dimension, (self.groups, -1))
        return parts.narrow(self.dimension + 1, self.start, self.stop - self.start)

    def fits(self, tensor: torch.Tensor) -> bool:
        """Whether the tensor is large enough to have it."""
        if self.dimension >= tensor.ndim or tensor.shape[self.dimension] % self.groups:
            return False
        return self.stop <= tensor.shape[self.dimension] // self.groups


@dataclass(frozen=True, slots=True)
class Attached:
    """A model of which what the method trains, and nothing else, takes gradients."""

    model: PreTrainedModel | PeftModel
    parameters: int  # trained, rows of new tokens apart
    special_rows: int = 0  # rows of new tokens that are trained besides
    masks: Mapping[int, torch.Tensor] = field(default_factory=dict)  # by place in `trained`: which entries may move
    parts: Mapping[int, tuple[Part, ...]] = field(default_factory=dict)  # by place: which slices are trained alone
    undecayed: frozenset[int] = frozenset()  # places of parameters that do not stand around zero
    masters: list[torch.Tensor] | None = None  # float32 values, where the parameters hold them rounded


@dataclass(frozen=True, slots=True)
class Loaded:
    """A tuned arm, ready for sampling."""

    model: PreTrainedModel  # with modules of an adapter in place where it is not merged
    unmerged: str | None = None  # why what was trained stands beside the weights; None: it is merged
    beside: Beside | None = None  # what then costs products of its own, where that is known
    adapter: Path | None = None  # and the folder that holds it
    moved: float | None = None  # the most that an adapter moves a logit, as a share of the base's largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The base that an arm stands on, and where it goes."""

    base: str
    dtype: torch.dtype
    device: torch.device | str = "cpu"
    revision: str | None = None
    trust_remote_code: bool = False

    @property
    def source(self) -> dict[str, Any]:
        return {"device": self.device, "revision": self.revision, "trust_remote_code": self.trust_remote_code}


class TorchHalf(ABC, Generic[AnyMethod]):
    """What a method does with a model."""

    shares_base: ClassVar[bool] = False  # leaves the base's own weights as they are, so that arms can share one
    reads_float32: ClassVar[bool] = (
        False  # trains the base's weights, whose masters start as the checkpoint has them
    )

    shards: ClassVar[bool] = False  # what it trains can be shared out over processes, row by row

    def check(self, method: AnyMethod, config: PretrainedConfig, *, trust_remote_code: bool = False) -> None:
        """Raise UserError, before anything is loaded, where this architecture cannot be tuned so."""
        if method.named_targets:
            check_targets(config, targets=method.named_targets, trust_remote_code=trust_remote_code)

    def load_base(self, method: AnyMethod, where: Where) -> PreTrainedModel:
        """The model that the arm starts from."""
        return load_model(where.base, dtype=torch.float32 if self.reads_float32 else where.dtype, **where.source)

    @abstractmethod
    def attach(
        self, model: PreTrainedModel, *, method: AnyMethod, fresh: Sequence[int], seed: int, dtype: torch.dtype
    ) -> Attached:
        """Make the model ready for training at `dtype`; `fresh` are the ids of tokens that are new to it."""

    def showing(self, model: PreTrainedModel | PeftModel) -> contextlib.AbstractContextManager[None]:
        """While open, what is trained has values whose effect shows, so that the fast paths are examined with it.

        Needed where nobody knows what the modules do: an adapter that begins as nothing hides that it mixes tokens.
        """
        return contextlib.nullcontext()

    def restore_modules(self, model: PreTrainedModel | PeftModel) -> PreTrainedModel:
        """The base as it was before `attach`; for methods that share one."""
        raise NotImplementedError

    def counted(self, method: AnyMethod, model: PreTrainedModel) -> Counted | None:
        """What footprint counts of the method on an attached model; None: not known."""
        return method.counted()

    @abstractmethod
    def save(
        self, model: PreTrainedModel | PeftModel, *, method: AnyMethod, fresh: Sequence[int], folder: Path
    ) -> None:
        """Write what was trained, the rows of new tokens included."""

    @abstractmethod
    def load(self, method: AnyMethod, where: Where, *, folder: Path) -> Loaded:
        """What `save` wrote, on its base, merged where it can be."""


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that gradients reach, in the model's order, each once."""
    return [p for p in model.parameters() if p.requires_grad]
