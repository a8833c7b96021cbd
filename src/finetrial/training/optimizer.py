"""The optimizer: float32 masters and moments, schedule, clipping, loss scale, default learning rates.

Parameters in bfloat16 or float16 have a float32 master each. Every micro-batch's gradient is added to the master's
as soon as it is there and then let go (gradients.py), so that sums over micro-batches are float32 and the narrow
gradients never all live at once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from finetrial.methods.method import TunedMethod
from finetrial.methods.torch_half import Part
from finetrial.models.kernels.gradients import GradientSum
from finetrial.models.kernels.private_calls import copy_each, multiply_each
from finetrial.training.requirements import check_optimizer
from finetrial.training.task import OptimizerName, Schedule

_DENSE = torch.contiguous_format
Moments = Mapping[str, torch.Tensor]  # of one master: its moments, and the number of its steps

# Random weights: GPT-3's 6e-4 at width 768 (Brown et al. 2020, table 2.1), falling with the width as in
# muP (Yang et al. 2022, table 8).
_PRETRAIN_RATE, _PRETRAIN_WIDTH = 6e-4, 768
_PRETRAIN_CEILING = 5e-3  # for very narrow models. Assumption


def pretrain_learning_rate(width: int) -> float:
    """The default for training from random weights."""
    return min(_PRETRAIN_CEILING, _PRETRAIN_RATE * _PRETRAIN_WIDTH / width)


def schedule_factor(step: int, *, steps: int, warmup: float, schedule: Schedule) -> float:
    """The share of the peak learning rate at `step` (0 .. steps-1): linear warm-up, then the schedule to zero."""
    warm_steps = math.ceil(warmup * steps)
    if step < warm_steps:
        return (step + 1) / warm_steps
    if schedule == "constant":
        return 1.0
    done = (step - warm_steps) / max(1, steps - warm_steps)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def _make(
    name: OptimizerName, groups: list[dict[str, Any]], *, betas: tuple[float, float], device: torch.device
) -> torch.optim.Optimizer:
    fused = device.type in ("cpu", "cuda")
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=fused)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=0.0, fused=fused)
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=0.0)
    check_optimizer(name, device=device)
    import bitsandbytes  # optional package

    narrow: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, lr=0.0, betas=betas)
    return narrow


@dataclass(frozen=True, slots=True)
class _Copy:
    """A master that stands apart from the parameter, or the slice of one, that it is written to."""

    param: nn.Parameter
    part: Part | None
    master: torch.Tensor

    @property
    def place(self) -> torch.Tensor:
        whole = self.param.detach()
        return whole if self.part is None else self.part.of(whole)


class MasterOptimizer:
    """The optimizer of a model's trained parameters, whatever their precision.

    `masters` are the starting values where they are known more exactly than the parameters hold them; they are
    taken over, not copied. `masks` maps a parameter's place in `params` to the entries that may move; the rest stay
    as they are. `parts` maps a place to the slices that are trained alone: each has a master, and moments, of its
    own size, and stands in `masters` where the parameter would. `undecayed` are the places of
    parameters without weight decay.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        *,
        name: OptimizerName,
        betas: tuple[float, float],
        weight_decay: float,
        masters: Sequence[torch.Tensor] | None = None,
        masks: Mapping[int, torch.Tensor] | None = None,
        parts: Mapping[int, tuple[Part, ...]] | None = None,
        undecayed: Collection[int] = (),
    ) -> None:
        self.params = list(params)
        self.masters: list[torch.Tensor] = []
        self.slices: list[tuple[int, Part | None]] = []  # of each master: its parameter's place, its part
        self._masks: list[tuple[torch.Tensor, torch.Tensor]] = []  # masters with their masks
        self._copies: list[_Copy] = []
        self._sums: dict[int, GradientSum] = {}  # by the parameter's id
        given = None if masters is None else iter(masters)
        left_alone: set[int] = set()
        for i, param in enumerate(self.params):
            if i in (parts or {}):
                self.slices += [(i, part) for part in (parts or {})[i]]
                self._train_parts(param, (parts or {})[i], given=given)
                continue
            self.slices.append((i, None))
            if param.dtype == torch.float32:
                self.masters.append(param)
                if given is not None:
                    next(given)  # the parameter is as exact
            else:
                self.masters.append(self._apart(param, None, given=given))
                total = self._sums[id(param)] = GradientSum(self.masters[-1])
                param.register_post_accumulate_grad_hook(_folding_into(total))
            if i in undecayed:
                left_alone.add(id(self.masters[-1]))
            if masks and i in masks:
                self._masks.append((self.masters[-1], masks[i]))
        assert given is None or next(given, None) is None, "a starting value for every master"
        # decay is for matrices; biases and norms (one dimension) are left alone, as is usual since GPT-2
        decayed = [m for m in self.masters if m.ndim > 1 and id(m) not in left_alone]
        others = [m for m in self.masters if m.ndim <= 1 or id(m) in left_alone]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        device = self.params[0].device
        self._optimizer = _make(name, [g for g in groups if g["params"]], betas=betas, device=device)
        self._fused = device.type == "cuda" and name in ("adamw", "sgd")
        # a card's norm is not waited for, but at float16 where no kernel can leave an overflow alone
        self._on_card = self._fused or (device.type == "cuda" and self.params[0].dtype != torch.float16)

    def _apart(
        self, param: nn.Parameter, part: Part | None, *, given: Iterator[torch.Tensor] | None
    ) -> torch.Tensor:
        """A float32 master for a parameter, or for a slice of one."""
        value = param.detach() if part is None else part.of(param.detach())
        master = _wide_copy(value) if given is None else next(given)
        assert master.dtype == torch.float32 and master.device == param.device and master.shape == value.shape
        master.requires_grad_(True)
        self._copies.append(_Copy(param, part, master))
        return master

    def _train_parts(
        self, param: nn.Parameter, parts: Sequence[Part], *, given: Iterator[torch.Tensor] | None
    ) -> None:
        sums = []
        for part in parts:
            self.masters.append(self._apart(param, part, given=given))
            sums.append((part, GradientSum(self.masters[-1])))
        param.register_post_accumulate_grad_hook(_folding_parts(sums))

    def sum_of(self, param: torch.Tensor | None) -> GradientSum | None:
        """Where a narrow parameter's gradient is summed; None for others."""
        return self._sums.get(id(param))

    def step(self, *, learning_rate: float, clip: float | None, loss_scale: float = 1.0) -> torch.Tensor:
        """Clip, step, hand the masters' values to the parameters. Returns the gradient norm before clipping.

        Gradients are divided by `loss_scale` first. No step is taken where the norm is not finite; a card does not
        wait for it where the optimizer's kernel can be told so.
        """
        grads = self.gradients()
        norm = self.norm_of(grads) / loss_scale if self._on_card else None
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if norm is not None:
            self._clip_on_card(norm, grads, clip=clip, loss_scale=loss_scale)
        else:
            norm = self._clip_at_once(grads, clip=clip, loss_scale=loss_scale)
            if not math.isfinite(float(norm)):
                return norm
        self._optimizer.step()
        if self._copies:
            with torch.no_grad():
                copy_each([c.place for c in self._copies], [c.master for c in self._copies])
        self.forget()
        return norm

    def gradients(self) -> list[torch.Tensor]:
        """The masters' gradients, those that there are, with masks applied."""
        for master, mask in self._masks:
            if master.grad is not None:
                master.grad.mul_(mask)
        return [m.grad for m in self.masters if m.grad is not None]

    def norm_of(self, grads: list[torch.Tensor]) -> torch.Tensor:
        """The norm of all gradients together."""
        return torch.nn.utils.get_total_norm(grads)

    def _clip_at_once(self, grads: list[torch.Tensor], *, clip: float | None, loss_scale: float) -> torch.Tensor:
        if loss_scale != 1.0:
            multiply_each(grads, 1.0 / loss_scale)
        norm = self.norm_of(grads)
        value = float(norm)
        if clip is not None and math.isfinite(value) and value > clip:
            multiply_each(grads, clip / value)
        return norm

    def _clip_on_card(
        self, norm: torch.Tensor, grads: list[torch.Tensor], *, clip: float | None, loss_scale: float
    ) -> None:
        """Let the optimizer's kernel divide the gradients, and leave all alone where the norm is not finite.

        The two attributes are what torch.amp.GradScaler sets: a fused kernel reads them on the card.
        """
        divisor = norm.new_full((), loss_scale)
        if clip is not None:
            divisor = divisor * (norm / clip).clamp(min=1.0)
        if self._fused:
            optimizer: Any = self._optimizer
            optimizer.grad_scale = divisor
            optimizer.found_inf = (~torch.isfinite(norm)).float()
        else:
            multiply_each(grads, divisor.reciprocal())

    def forget(self) -> None:
        """Drop every gradient."""
        for tensor in (*self.params, *self.masters):
            tensor.grad = None

    @property
    def moments(self) -> list[dict[str, torch.Tensor]]:
        """What the optimizer keeps of each master, by its own names; nothing before the first step."""
        kept: Any = self._optimizer.state
        return [{k: v for k, v in kept.get(m, {}).items() if isinstance(v, torch.Tensor)} for m in self.masters]

    def state(self) -> dict[str, Any]:
        """Masters and moments, for a checkpoint."""
        return {"masters": [m.detach() for m in self.masters], "moments": self.moments}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.set_masters(state["masters"])
        self.set_moments(state["moments"])

    def restore_parameters(self, values: Sequence[torch.Tensor], moments: Sequence[Moments]) -> None:
        """Take back what was kept of whole parameters, of which the masters may be slices."""
        self.set_masters(self.slices_of(values))
        self.set_moments([_slice_of(moments[place], part) for place, part in self.slices])

    def slices_of(self, values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Of a value for every parameter those for the masters."""
        return [values[place] if part is None else part.of(values[place]) for place, part in self.slices]

    def set_moments(self, moments: Sequence[Moments]) -> None:
        """Give the optimizer what it kept of each master."""
        by_master = dict(zip(map(id, self.masters), moments, strict=True))
        state = self._optimizer.state_dict()
        ordered = [by_master[id(m)] for group in self._optimizer.param_groups for m in group["params"]]
        state["state"] = {place: dict(kept) for place, kept in enumerate(ordered) if kept}
        self._optimizer.load_state_dict(state)

    @torch.no_grad()
    def set_masters(self, masters: Sequence[torch.Tensor]) -> None:
        """Give masters and parameters these values."""
        for master, value in zip(self.masters, masters, strict=True):
            master.copy_(value)
        for copy in self._copies:
            copy.place.copy_(copy.master)


def _slice_of(moments: Moments, part: Part | None) -> Moments:
    """Each in memory of its own, end to end as the optimizer's kernel reads it; the number of steps, too."""
    if part is None:
        return moments
    return {k: (v if v.ndim == 0 else part.of(v)).clone(memory_format=_DENSE) for k, v in moments.items()}


def _wide_copy(value: torch.Tensor) -> torch.Tensor:
    return value.to(torch.float32, copy=True)


def _folding_into(total: GradientSum) -> Any:
    def fold(param: torch.Tensor) -> None:
        if param.grad is not None:
            total.add(param.grad)
            param.grad = None

    return fold


def _folding_parts(sums: Sequence[tuple[Part, GradientSum]]) -> Any:
    def fold(param: torch.Tensor) -> None:
        if param.grad is not None:
            for part, total in sums:
                total.add(part.of(param.grad))
            param.grad = None

    return fold


def default_learning_rate(config: PretrainedConfig, *, method: TunedMethod) -> float:
    """The default for the width of the model with this configuration, by the method's rule."""
    config = config.get_text_config()
    # OPT-350m's embedding is narrower than its layers, and the rules go by the embedding
    width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
    return method.default_learning_rate(width)


# torch.amp.GradScaler's defaults: 2^16 at first, doubled after 2,000 steps without an overflow
_FIRST, _GROW_AFTER_STEPS = 65536.0, 2000


def first_loss_scale(dtype: torch.dtype) -> float:
    """The factor of the loss that an arm at this precision starts with: above 1 for float16 alone.

    float16 holds nothing below 6e-8. The loss is multiplied before the backward pass and the gradients divided
    after it (Micikevicius et al. 2018, section 3.2). After an overflow the same batch is taken again at half the
    scale, so no batch is lost.
    """
    return _FIRST if dtype == torch.float16 else 1.0


def grown_loss_scale(scale: float, *, steps: int) -> tuple[float, int]:
    """The scale and the steps since it changed, after `steps` steps without an overflow. A scale of 1 stays."""
    if scale > 1.0 and steps >= _GROW_AFTER_STEPS:
        return 2 * scale, 0
    return scale, steps
