"""One frozen matrix product for the rows of several arms side by side, each with its own LoRA adapter on its slice.

y = x W + b for the tokens of all arms at once; the tokens [start, stop) of arm i get s_i (x A_i) B_i besides. The
frozen matrix is held once and read once for all of them, forward and backward. An arm without an adapter here gets
the frozen product alone. At half precision the thin products are added to the wide one in place, as linear.py does
for one arm.

Shapes: T tokens of all arms, I inputs, O outputs, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers.pytorch_utils import Conv1D

from finetrial.models.kernels.linear import filled_up, plain_adapter


class RowMismatch(Exception):
    """A module is given other tokens than those of the row, so that nobody knows whose they are."""


class ArmSlices:
    """Whose the tokens of the row are that is being computed; one object for all modules of a model."""

    def __init__(self) -> None:
        self._arms: tuple[int, ...] = ()
        self._tokens, self.total = 0, 0

    def set(self, arms: Sequence[int], *, tokens: int, total: int) -> None:
        """The row holds `tokens` tokens of each of these arms, one arm after another, and is `total` long.

        It stays so until the backward pass is done, which may compute layers anew. What stands behind is nobody's.
        """
        self._arms, self._tokens, self.total = tuple(arms), tokens, total

    def clear(self) -> None:
        """No token is any arm's: the base alone is computed."""
        self.set((), tokens=0, total=0)

    def of(self, arm: int) -> slice | None:
        """Where the arm's tokens stand; None where it has none."""
        if arm not in self._arms:
            return None
        place = self._arms.index(arm)
        return slice(place * self._tokens, (place + 1) * self._tokens)


@dataclass(frozen=True, slots=True)
class _Thin:
    """An arm's adapter on its slice of the row."""

    rows: slice
    scaling: float


class _SlicesAdapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_IO: torch.Tensor,
        bias_O: torch.Tensor | None,
        thin: tuple[_Thin, ...],
        *factors: torch.Tensor,
    ) -> torch.Tensor:
        x_TI = x.reshape(-1, x.shape[-1])
        y_TO = x_TI @ weight_IO
        if bias_O is not None:
            y_TO.add_(bias_O)
        kept: list[torch.Tensor] = []
        for one, a_rI, b_Or in zip(thin, factors[::2], factors[1::2], strict=True):
            if x.device.type == "cuda":
                a_rI, b_Or = filled_up(a_rI, b_Or)
            t_tr = x_TI[one.rows] @ a_rI.t()
            y_TO[one.rows].addmm_(t_tr, b_Or.t(), alpha=one.scaling)
            kept += [a_rI, b_Or, t_tr]
        ctx.save_for_backward(x_TI, weight_IO, *kept)
        ctx.thin, ctx.ranks = thin, [a_rI.shape[0] for a_rI in factors[::2]]
        return y_TO.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_TI, weight_IO, *kept = ctx.saved_tensors
        g_TO = grads[0].reshape(-1, grads[0].shape[-1])
        x_grad_TI = g_TO @ weight_IO.t() if ctx.needs_input_grad[0] else None
        found: list[torch.Tensor] = []
        for place, (one, rank) in enumerate(zip(ctx.thin, ctx.ranks, strict=True)):
            a_rI, b_Or, t_tr = kept[3 * place : 3 * place + 3]
            g_tO = g_TO[one.rows]
            u_tr = (g_tO @ b_Or).mul_(one.scaling)
            if x_grad_TI is not None:
                x_grad_TI[one.rows].addmm_(u_tr, a_rI)
            b_grad_Or = (t_tr.t() @ g_tO).mul_(one.scaling).t()
            found += [(u_tr.t() @ x_TI[one.rows])[:rank], b_grad_Or[:, :rank]]
        x_grad = None if x_grad_TI is None else x_grad_TI.view(*grads[0].shape[:-1], -1)
        return x_grad, None, None, None, *found


def plain_slices_adapted(
    x: torch.Tensor,
    *,
    weight_IO: torch.Tensor,
    bias_O: torch.Tensor | None,
    rows: Sequence[slice],
    scalings: Sequence[float],
    factors: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """What `ArmSlicesLinear` computes, as peft writes it for each arm alone. x [T, I], A [r, I], B [O, r]."""
    y = x @ weight_IO if bias_O is None else x @ weight_IO + bias_O
    parts = [torch.zeros_like(y) for _ in rows]
    for part, where, scaling, (a_rI, b_Or) in zip(parts, rows, scalings, factors, strict=True):
        part[where] = (x[where] @ a_rI.t()) @ b_Or.t() * scaling
    return y + sum(parts)


class ArmSlicesLinear(nn.Module):
    """Stands in the place of a frozen linear module and adds every arm's adapter to the arm's slice of the row."""

    def __init__(self, layers: dict[int, LoraLinear], *, slices: ArmSlices) -> None:
        """`layers` are peft's modules by arm, each around the same frozen one."""
        super().__init__()
        first = next(iter(layers.values()))
        base = first.base_layer
        assert isinstance(base, (nn.Linear, Conv1D))
        self.in_features, self.out_features = first.in_features, first.out_features
        self.base_layer, self.slices = base, slices
        self.arms = tuple(layers)
        self.scalings: list[float] = []
        self.a_rI, self.b_Or = nn.ParameterList(), nn.ParameterList()
        for layer in layers.values():
            name = plain_adapter(layer)
            assert name is not None and layer.base_layer is base
            self.scalings.append(layer.scaling[name])
            self.a_rI.append(layer.lora_A[name].weight)
            self.b_Or.append(layer.lora_B[name].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., O] of [..., I]. Raises RowMismatch where an adapter acts on other tokens than those of the row."""
        places = [(place, rows) for place, arm in enumerate(self.arms) if (rows := self.slices.of(arm)) is not None]
        if not places:
            plain: torch.Tensor = self.base_layer(x)
            return plain
        given = x.numel() // x.shape[-1]
        if given != self.slices.total:
            raise RowMismatch(f"a targeted module is given {given} tokens of {self.slices.total}")
        thin = tuple(_Thin(rows, self.scalings[place]) for place, rows in places)
        factors = [factor for place, _ in places for factor in (self.a_rI[place], self.b_Or[place])]
        if torch.is_grad_enabled():
            base = self.base_layer
            weight_IO = base.weight if isinstance(base, Conv1D) else base.weight.t()
            y: torch.Tensor = _SlicesAdapted.apply(x, weight_IO, base.bias, thin, *factors)
            return y
        y = self.base_layer(x)
        x_TI, y_TO = x.reshape(given, -1), y.view(given, -1)
        for one, a_rI, b_Or in zip(thin, factors[::2], factors[1::2], strict=True):
            y_TO[one.rows].addmm_(x_TI[one.rows] @ a_rI.t(), b_Or.t(), alpha=one.scaling)
        return y

    @property
    def weight(self) -> torch.Tensor:
        """The frozen module's own, as those read it that look at a layer's parts."""
        return self.base_layer.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.base_layer.bias


def why_not_sliced(module: object) -> str | None:
    """Why an adapted module cannot take part; None where it can."""
    if type(module) is not LoraLinear or plain_adapter(module) is None:
        return f"{type(module).__name__} is adapted in another way than one plain LoRA adapter"
    return None
