"""Hold a model's weights, gradients and optimizer states in shares, one a process: FSDP2 of torch.distributed.

Every process has some rows of every parameter, in float32 where it is trained: its masters. A decoder layer is
gathered at the precision of the arm around its own forward and backward pass and let go again; what stands outside
the layers (embedding, last norm, head) is gathered for a whole pass. A layer's gradients are summed in float32 in
the order of the ranks and only this process's rows are kept, after every micro-batch, so that every process must
make as many passes as the others.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, Shard
from transformers import PreTrainedModel

from finetrial.errors import UserError
from finetrial.methods.torch_half import Attached, trained
from finetrial.models.kernels.float32_copy import NoFloat32Copy, chosen_layers, decoder_layers
from finetrial.training.ranks import Ranks

T = TypeVar("T")
_EXCHANGED = 1 << 24  # numbers that are exchanged at once: 64 MiB of float32. Assumption
_GATHERED = "with_gathered_weights"  # the method of the model that runs work with what stands outside the layers


@dataclass(frozen=True, slots=True)
class Sharding:
    """The processes that share a model out, and this one's device."""

    ranks: Ranks
    device: torch.device


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a parameter that one process holds: [start, stop) of its first dimension."""

    start: int
    stop: int

    @classmethod
    def of(cls, count: int, *, rank: int, processes: int) -> Rows:
        """As torch's chunks are: all of the size of the first, the last ones smaller or empty."""
        size = -(-count // processes)
        return cls(min(count, rank * size), min(count, (rank + 1) * size))

    def take(self, whole: torch.Tensor) -> torch.Tensor:
        return whole[self.start : self.stop]


class _Gather:
    """Brings a layer's weights together; a lost process is told in its own words."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self,
        output_tensor: torch.Tensor,
        input_tensor: torch.Tensor,
        group: dist.ProcessGroup,
        async_op: bool = False,
    ) -> dist.Work | None:
        with self._ranks.together():
            work: dist.Work | None = dist.all_gather_into_tensor(
                output_tensor, input_tensor, group=group, async_op=async_op
            )
            return work


class _SumInOrder(_Gather):
    """Gives every process its rows' sum over the processes, added rank by rank."""

    def __call__(  # type: ignore[override]
        self,
        output_tensor: torch.Tensor,
        input_tensor: torch.Tensor,
        group: dist.ProcessGroup,
        op: Any,
        async_op: bool = False,
    ) -> dist.Work | None:
        dealt = input_tensor.view(self._ranks.count, -1)
        size = max(1, _EXCHANGED // self._ranks.count)
        for start in range(0, dealt.shape[1], size):
            sent, total = dealt[:, start : start + size].contiguous(), output_tensor[start : start + size]
            found = torch.empty_like(sent)
            with self._ranks.together():
                dist.all_to_all_single(found, sent, group=group)
            total.copy_(found[0])
            for part in found[1:]:
                total += part
        return None


class ShardedModel:
    """A model whose parameters are shared out over the processes. `params` are the trained ones, in its order."""

    def __init__(self, model: PreTrainedModel, sharding: Sharding, *, dtype: torch.dtype) -> None:
        """Share out a model whose trained parameters are float32. Raises UserError for one of unknown layers."""
        ranks, device = sharding.ranks, sharding.device
        self.model, self.ranks = model, ranks
        self._dtype = dtype
        try:
            layers = decoder_layers(model)[2]
        except (NoFloat32Copy, AttributeError) as error:
            raise UserError(
                f"{model.config.model_type} cannot be sharded over processes",
                got=str(error),
                fix="Set training.sharding: none, with which every process holds the whole model.",
            ) from None
        shared: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (ranks.count,)),
            "mp_policy": MixedPrecisionPolicy(
                param_dtype=None if dtype == torch.float32 else dtype,
                reduce_dtype=torch.float32,
                cast_forward_inputs=False,
            ),
        }
        for layer in layers:
            fully_shard(layer, **shared)
        model.__dict__[_GATHERED] = types.MethodType(_run, model)
        root: Any = fully_shard(model, **shared)
        register_fsdp_forward_method(root, _GATHERED)
        gather, reduce = _Gather(ranks), _SumInOrder(ranks)
        for module in self._units():
            module.set_custom_all_gather(gather)  # type: ignore[arg-type]
            module.set_custom_reduce_scatter(reduce)  # type: ignore[arg-type]
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
        root.set_reduce_scatter_unused_params(True)  # of a mixture's experts a process may reach none
        self._root = root
        self.params: list[DTensor] = [p for p in trained(model) if isinstance(p, DTensor)]

    def _units(self) -> list[FSDPModule]:
        return [module for module in self.model.modules() if isinstance(module, FSDPModule)]

    def through(self, work: Callable[[], T]) -> T:
        """What `work` gives, with the weights outside the layers gathered; its backward pass finds them, too."""
        found: T = getattr(self.model, _GATHERED)(work)
        if not torch.is_grad_enabled():
            self._root.reshard()
        return found

    @property
    def local(self) -> list[torch.Tensor]:
        """This process's rows of every trained parameter, in the memory of the model."""
        return [param.to_local().detach() for param in self.params]

    def rows(self, place: int) -> Rows:
        """Which rows of a trained parameter this process holds."""
        count = self.params[place].shape[0]
        return Rows.of(count, rank=self.ranks.rank, processes=self.ranks.count)

    def gradients(self) -> list[torch.Tensor | None]:
        """This process's rows of every trained parameter's gradient."""
        found: list[Any] = [param.grad for param in self.params]
        return [None if grad is None else grad.to_local() for grad in found]

    def like(self, place: int, local: torch.Tensor) -> DTensor:
        """A tensor of which this process holds `local`, shared out as a trained parameter is."""
        param = self.params[place]
        return DTensor.from_local(
            local, param.device_mesh, [Shard(0)], run_check=False, shape=param.shape, stride=param.stride()
        )

    def held_bytes(self) -> dict[str, int]:
        """What this process holds of weights and gradients between two passes."""
        params = [p for p in self.model.parameters() if isinstance(p, DTensor)]
        local = [p.to_local() for p in params]
        gradients = [found for found in self.gradients() if found is not None]
        return {
            "parameters": sum(p.numel() * p.element_size() for p in local),
            "gradients": sum(g.numel() * g.element_size() for g in gradients),
        }

    @torch.no_grad()
    def make_whole(self, *, keep: bool) -> None:
        """Gather the model at its own precision, parameter by parameter, into the memory of those that `keep` it.

        It is an ordinary model there afterwards, on the CPU, and of no more use to the others.
        """
        whole: dict[int, nn.Parameter] = {}
        for module in self.model.modules():
            for name, param in list(module.named_parameters(recurse=False)):
                assert isinstance(param, DTensor)
                if id(param) not in whole:
                    narrow: Any = param.to(self._dtype)
                    with self.ranks.together():
                        found = narrow.full_tensor()
                    kept = found.cpu() if keep else torch.empty(0)
                    whole[id(param)] = nn.Parameter(kept, requires_grad=False)
                    whole[id(param)].sharded = param  # type: ignore[attr-defined]  # keeps its id from another
                module.register_parameter(name, whole[id(param)])
        for param in whole.values():
            del param.sharded  # type: ignore[attr-defined]
        for unit in self._units():
            unit.__class__ = type(unit).__bases__[1]
        self.params = []


def _run(model: PreTrainedModel, work: Callable[[], T]) -> T:
    return work()


@torch.no_grad()
def widen(model: PreTrainedModel, attached: Attached) -> dict[int, torch.Tensor]:
    """Give the trained parameters their float32 values, and masks by place where only slices of one are trained."""
    masters = None if attached.masters is None else iter(attached.masters)
    masks: dict[int, torch.Tensor] = {}
    for place, param in enumerate(trained(model)):
        parts = attached.parts.get(place)
        if parts is None:
            if masters is not None:
                param.data = next(masters)
            continue
        wide, mask = param.detach().float(), torch.zeros(param.shape, device=param.device)
        for part in parts:
            part.of(mask).fill_(1.0)
            if masters is not None:
                part.of(wide).copy_(next(masters))
        param.data, masks[place] = wide, mask
    return masks


def probed_parts(model: PreTrainedModel, *, device: torch.device) -> None:
    """Bring to the device what a probe reads: the layers that its copy is made of, and all outside the layers."""
    if device.type == "cpu":
        return
    try:
        layers = decoder_layers(model)[2]
    except (NoFloat32Copy, AttributeError):
        return
    far = {id(p) for i, layer in enumerate(layers) if i not in chosen_layers(layers) for p in layer.parameters()}
    for param in model.parameters():
        if id(param) not in far:
            param.data = param.data.to(device)
    for buffer in model.buffers():
        buffer.data = buffer.data.to(device)
