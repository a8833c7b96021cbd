"""List a model's matrices for the resolver of targets, and say which modules and output rows targets mean.

The architecture's roles come from `footprint`, which knows the names; a module that it does not know has its own
name alone. The head is left out: its matrix is often the embedding's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetrial.footprint.fields import UnknownShape
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.structure import Linear, Rows, Shape
from finetrial.footprint.targets import NamedMatrix, matrices_of, resolve


@dataclass(frozen=True, slots=True)
class TargetedModule:
    """A module with the output rows that are tuned, for each target that means it."""

    name: str  # the module's full name
    inputs: int
    outputs: int
    blocks: tuple[Rows, ...]  # one for each target
    roles: tuple[str, ...]  # what the whole module's outputs are for

    @property
    def whole(self) -> bool:
        return self.blocks == (Rows(0, self.outputs),)


def shape_of(model: PreTrainedModel) -> Shape | None:
    """The model's shape where footprint knows its architecture."""
    try:
        return shape_from_config(model.config.to_dict())
    except UnknownShape:
        return None


@torch.no_grad()
def _is_router(module: nn.Linear) -> bool:
    """Whether it is written as a linear module and gives several results, as some routers do."""
    own = type(module)
    if not own.__module__.startswith("transformers.models.") or own.forward is nn.Linear.forward:
        return False
    try:
        found = module(torch.zeros(1, module.in_features, dtype=module.weight.dtype, device=module.weight.device))
    except (TypeError, RuntimeError, ValueError):
        return True
    return not isinstance(found, torch.Tensor)


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear module; None for others."""
    if isinstance(module, nn.Linear):
        return None if _is_router(module) else (module.in_features, module.out_features)
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return None


def matrices_in(model: PreTrainedModel) -> tuple[NamedMatrix, ...]:
    """The linear modules of a model but its head, in the model's order."""
    shape = shape_of(model)
    head = model.get_output_embeddings()
    known = {} if shape is None else {matrix.name: matrix for matrix in matrices_of(shape)}
    found = []
    for name, module in model.named_modules():
        size = _sizes(module)
        if module is head or size is None:
            continue
        own = Linear(path=name, roles=(name.rsplit(".", 1)[-1],), inputs=size[0], widths=(size[1],))
        matrix = known.get(name)
        linear = own if matrix is None else matrix.linear
        assert size == (linear.inputs, linear.outputs), name
        found.append(NamedMatrix(name=name, linear=linear, layer=None if matrix is None else matrix.layer))
    return tuple(found)


def targeted_modules(model: PreTrainedModel, *, targets: Sequence[str]) -> tuple[TargetedModule, ...]:
    """The modules that the targets mean, in the model's order. Raises UserError that lists what may be named."""
    matrices = matrices_in(model)
    linears = {matrix.name: matrix.linear for matrix in matrices}
    blocks: dict[str, list[Rows]] = {}
    for target in resolve(matrices, targets=targets, model=model.config.model_type):
        for name in target.modules:
            blocks.setdefault(name, []).append(target.rows)
    return tuple(
        TargetedModule(
            name,
            linear.inputs,
            linear.outputs,
            tuple(sorted(blocks[name], key=lambda rows: rows.start)),
            linear.roles,
        )
        for name, linear in linears.items()
        if name in blocks
    )


def check_targets(config: PretrainedConfig, *, targets: Sequence[str], trust_remote_code: bool = False) -> None:
    """Raise UserError, before anything is loaded, for a target that this architecture does not have."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    targeted_modules(made, targets=targets)
