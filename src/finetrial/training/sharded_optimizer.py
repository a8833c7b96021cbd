"""The optimizer of a sharded model: every process steps its own rows of every parameter.

The rows are float32 and their own masters. Gradients are clipped by the norm over all processes, summed in the
order of the ranks. What is kept is named by the parameter's place, so that any number of processes can go on
from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from finetrial.errors import UserError
from finetrial.methods.torch_half import Part
from finetrial.training.optimizer import MasterOptimizer, Moments
from finetrial.training.sharding import ShardedModel
from finetrial.training.task import OptimizerName

# Adafactor's row and column means are of whole matrices, AdamW's 8-bit blocks lie across the rows' borders.
SHARDED_OPTIMIZERS: tuple[OptimizerName, ...] = ("adamw", "sgd")
_MASTER = "master"


def check_sharded(name: OptimizerName, *, weight_decay: float, parts: Mapping[int, Sequence[Part]]) -> None:
    """Raises UserError for what cannot be stepped row by row."""
    if name not in SHARDED_OPTIMIZERS:
        raise UserError(
            f"optimizer: {name} cannot be sharded over processes: it reads more than its rows of a matrix",
            expected=" or ".join(SHARDED_OPTIMIZERS),
            fix="Set training.optimizer: adamw, or training.sharding: none.",
        )
    if parts and weight_decay:
        raise UserError(
            "weight decay on some rows of a fused matrix cannot be sharded over processes",
            fix="Set training.weight_decay: 0, or training.sharding: none.",
        )


class ShardedOptimizer(MasterOptimizer):
    """Steps this process's rows. `masks` are of whole parameters, by place: which entries may move."""

    def __init__(
        self,
        model: ShardedModel,
        *,
        name: OptimizerName,
        betas: tuple[float, float],
        weight_decay: float,
        masks: Mapping[int, torch.Tensor],
        parts: Mapping[int, tuple[Part, ...]],
    ) -> None:
        """`parts` are the slices that are trained alone, as one process has them."""
        self._model, self._parts = model, parts
        params = [nn.Parameter(local) for local in model.local]
        super().__init__(
            params,
            name=name,
            betas=betas,
            weight_decay=weight_decay,
            masks={i: model.rows(i).take(mask).to(params[i].device) for i, mask in masks.items()},
        )

    def gradients(self) -> list[torch.Tensor]:
        for master, found in zip(self.masters, self._model.gradients(), strict=True):
            master.grad = found
        return super().gradients()

    def norm_of(self, grads: list[torch.Tensor]) -> torch.Tensor:
        device = self.masters[0].device
        squares = torch.zeros((), dtype=torch.float32, device=device)
        if filled := [grad for grad in grads if grad.numel()]:
            squares = torch.nn.utils.get_total_norm(filled).square()
        return self._model.ranks.sum_scalar(squares).sqrt()

    def forget(self) -> None:
        super().forget()
        for param in self._model.params:
            param.grad = None

    def state_bytes(self) -> int:
        """What this process holds of moments."""
        return sum(v.numel() * v.element_size() for kept in self.moments for v in kept.values() if v.ndim)

    # -- checkpoints

    def masters_shared(self) -> dict[str, torch.Tensor]:
        """Every parameter's rows as one tensor that is shared out over the processes."""
        return {f"{_MASTER}.{i}": self._model.like(i, master.detach()) for i, master in enumerate(self.masters)}

    def shared(self) -> dict[str, torch.Tensor]:
        """Masters and moments in the same way; numbers of steps are the same in all processes."""
        found = self.masters_shared()
        for place, kept in enumerate(self.moments):
            for name, value in kept.items():
                found[f"{name}.{place}"] = value if value.ndim == 0 else self._model.like(place, value)
        return found

    def empty(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Room for what a checkpoint holds under these names."""
        found: dict[str, torch.Tensor] = {}
        for name in names:
            kind, place = name.rsplit(".", 1)
            local = torch.empty_like(self.masters[int(place)], requires_grad=False)
            found[name] = torch.zeros(()) if kind == "step" else self._model.like(int(place), local)
        return found

    def take(self, shared: Mapping[str, torch.Tensor]) -> None:
        """Take back what `shared` gave, or its masters alone."""
        local = {k: v.to_local() if isinstance(v, DTensor) else v for k, v in shared.items()}
        self.set_masters([local[f"{_MASTER}.{i}"] for i in range(len(self.masters))])
        moments: list[dict[str, torch.Tensor]] = [{} for _ in self.masters]
        for name, value in local.items():
            kind, place = name.rsplit(".", 1)
            if kind != _MASTER:
                moments[int(place)][kind] = value
        if any(moments):
            self.set_moments(moments)

    def restore(self, state: dict[str, Any]) -> None:
        """Take this process's rows of what one process kept, where slices may stand apart."""
        self.set_masters(self._rows(state["masters"]))
        grouped = self._by_place(state["moments"])
        moments: list[Moments] = []
        for place, kept in enumerate(grouped):
            names = kept[0]
            moments.append(
                {k: kept[0][k] if kept[0][k].ndim == 0 else self._whole(place, [s[k] for s in kept]) for k in names}
            )
        self.set_moments(moments)

    def restore_masters(self, values: Sequence[torch.Tensor]) -> None:
        """Take this process's rows of the masters that one process kept."""
        self.set_masters(self._rows(values))

    def _by_place(self, values: Sequence[Any]) -> list[list[Any]]:
        rest = iter(values)
        return [
            [next(rest) for _ in self._parts[place]] if place in self._parts else [next(rest)]
            for place in range(len(self.masters))
        ]

    def _rows(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [
            self._whole(place, slices, on=self.masters[place])
            for place, slices in enumerate(self._by_place(values))
        ]

    def _whole(self, place: int, slices: Sequence[torch.Tensor], *, on: torch.Tensor | None = None) -> torch.Tensor:
        """This process's rows of a parameter of which `slices` are known; the others are those of `on`, or zero."""
        rows = self._model.rows(place)
        if place not in self._parts:
            return rows.take(slices[0]).clone()  # the file that it stands in goes with the next checkpoint
        shape = self._model.params[place].shape
        whole = torch.zeros(shape)
        if on is not None:
            rows.take(whole).copy_(on.detach())
        for part, value in zip(self._parts[place], slices, strict=True):
            part.of(whole).copy_(value)
        return rows.take(whole).clone()
