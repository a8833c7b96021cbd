"""Which modules, and which of their output rows, do LoRA's targets mean in this model?

`q` is the query projection under whatever name the architecture gives it; `footprint` knows the names. In a fused
matrix (GPT-2's `c_attn`) a target means its own rows and no others; `all-linear` means every linear but the head,
each as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from finetrial.errors import unknown_name
from finetrial.footprint.adapters import ALL_LINEAR
from finetrial.footprint.fields import UnknownShape
from finetrial.footprint.shapes import shape_from_config
from finetrial.footprint.structure import Linear, Shape


@dataclass(frozen=True, slots=True)
class Adapted:
    """A matrix that gets adapters: one for each block of output rows."""

    name: str  # the module's full name
    inputs: int
    outputs: int
    blocks: tuple[tuple[int, int], ...]  # [from, to) of the output rows of each adapter

    @property
    def whole(self) -> bool:
        return self.blocks == ((0, self.outputs),)


def shape_of(model: PreTrainedModel) -> Shape | None:
    """The model's shape where footprint knows its architecture."""
    try:
        return shape_from_config(model.config.to_dict())
    except UnknownShape:
        return None


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a module that can carry an adapter."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.weight.shape[0], module.weight.shape[1]
    return None


def _blocks(linear: Linear, targets: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The rows that the targets' roles have in a linear, in the order they stand."""
    blocks = []
    for role, width in zip(linear.roles, linear.widths, strict=True):
        if role in targets:
            start = linear.start_of(role)
            blocks.append((start, start + width))
    return tuple(blocks)


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)


def resolve(model: PreTrainedModel, *, targets: Sequence[str]) -> tuple[Adapted, ...]:
    """The matrices that the targets mean, in the model's order. Raises UserError that lists what may be named."""
    head = model.get_output_embeddings()
    sizes = {
        name: found
        for name, module in model.named_modules()
        if module is not head and (found := _sizes(module)) is not None
    }
    found: dict[str, Adapted] = {}
    roles: set[str] = set()
    met: set[str] = set()
    shape = shape_of(model)
    for index, layer in enumerate(shape.layers if shape is not None else ()):
        assert shape is not None
        for linear in layer.linears:
            name = f"{shape.layer_path.format(layer=index)}.{linear.path}"
            if name not in sizes:
                continue
            assert sizes[name] == (linear.inputs, linear.outputs), name
            roles.update(linear.roles)
            blocks = _blocks(linear, targets)
            if blocks:
                met.update(set(linear.roles) & set(targets))
                found[name] = Adapted(name, linear.inputs, linear.outputs, blocks)
    for target in targets:
        if target == ALL_LINEAR:
            named = list(sizes)
        else:
            named = [name for name in sizes if target not in roles and _ends_with(name, target)]
        for name in named:
            inputs, outputs = sizes[name]
            found[name] = Adapted(name, inputs, outputs, ((0, outputs),))
        if not named and target not in met:
            own = {name.rsplit(".", 1)[-1] for name in sizes}
            raise unknown_name(f"target of {model.config.model_type}", target, roles | own | {ALL_LINEAR})
    return tuple(found[name] for name in sizes if name in found)


def check_targets(config: PretrainedConfig, *, targets: Sequence[str], trust_remote_code: bool = False) -> None:
    """Raise UserError, before anything is loaded, for a target that this architecture does not have."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    resolve(model, targets=targets)
