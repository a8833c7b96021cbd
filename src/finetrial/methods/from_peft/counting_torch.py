"""Count what any of peft's modules trains and multiplies, from the module itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from finetrial.footprint.beside import Addition, Beside, Products
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.footprint.structure import Linear
from finetrial.footprint.targets import Target, matrices_of
from finetrial.methods.model_targets import shape_of
from finetrial.models.merging import tuner_layers

# Some adapters make a matrix of the weight's size before they multiply; what that costs is shared among the tokens
# of a row of this length. Assumption
_ROW_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class CountedModules(Beside):
    """Modules beside matrices, each counted from what peft has made; `targets` are their full names."""

    kind: str
    targets: tuple[str, ...]
    found: Mapping[tuple[str, int, int], Addition]  # by the matrix's path in its layer and its size
    layers: tuple[int, ...] | None = None

    @property
    def words(self) -> str:
        return self.kind

    def on(self, linear: Linear, targets: Sequence[Target]) -> Addition:
        return self.found[linear.path, linear.inputs, linear.outputs]


def count_modules(model: PreTrainedModel, *, words: str) -> CountedModules | None:
    """What stands beside the matrices of a model; None where footprint does not know it, or a module cannot be run
    alone."""
    shape = shape_of(model)
    known = {} if shape is None else {matrix.name: matrix.linear for matrix in matrices_of(shape)}
    found: dict[tuple[str, int, int], Addition] = {}
    names = []
    for name, layer in tuner_layers(model).items():
        linear = known.get(name)
        if linear is None or not isinstance(layer, nn.Module):
            continue
        names.append(name)
        key = (linear.path, linear.inputs, linear.outputs)
        if key not in found:
            addition = _count(layer, linear)
            if addition is None:
                return None
            found[key] = addition
    return CountedModules(kind=words, targets=tuple(names), found=found) if names else None


def _count(layer: BaseTunerLayer, linear: Linear) -> Addition | None:
    assert isinstance(layer, nn.Module)
    own = [p for p in layer.parameters() if p.requires_grad]
    try:
        frozen, flowing = (_products(layer, linear, asked=asked) for asked in (False, True))
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return None
    base = linear.inputs * linear.outputs
    down = flowing.on_the_way - frozen.on_the_way  # what a gradient of the input costs besides
    scales_input = down < base / 2  # then the matrix's own gradient was asked for in either case
    on_the_way = frozen.on_the_way - (base if scales_input else 0)
    products = Products(
        forward=frozen.forward - base,
        on_the_way=max(0, on_the_way),
        to_input=0 if scales_input else max(0, down - base),
    )
    return Addition(
        trained=(sum(p.numel() for p in own),),
        stands=tuple(Matrix(1, p.numel()) for p in own),
        products=(products,),
        scales_input=scales_input,
    )


def _products(layer: BaseTunerLayer, linear: Linear, *, asked: bool) -> Products:
    """Multiplications a token, forward and backward in all, of the module with its matrix; `asked`: the input's
    gradient too. Linear in the tokens, so that two counts give a row of any length."""
    one, two = (_run(layer, linear, tokens=tokens, asked=asked) for tokens in (16, 32))
    return Products(forward=_a_token(one.forward, two.forward), on_the_way=_a_token(one.on_the_way, two.on_the_way))


def _a_token(of_16: int, of_32: int) -> int:
    each = (of_32 - of_16) / 16
    return round(each + (of_16 - 16 * each) / _ROW_TOKENS)


def _run(layer: BaseTunerLayer, linear: Linear, *, tokens: int, asked: bool) -> Products:
    assert isinstance(layer, nn.Module)
    weight = layer.get_base_layer().weight
    assert isinstance(weight, torch.Tensor)
    x_1TI = torch.zeros(1, tokens, linear.inputs, dtype=weight.dtype, device=weight.device, requires_grad=asked)
    wanted = [p for p in layer.parameters() if p.requires_grad] + ([x_1TI] if asked else [])
    with torch.enable_grad():
        with FlopCounterMode(display=False) as forward:
            y_1TO = layer(x_1TI)
        with FlopCounterMode(display=False) as backward:
            if wanted:  # an arm that was read back is not trained
                torch.autograd.grad(y_1TO, wanted, torch.zeros_like(y_1TO), allow_unused=True)
    return Products(forward=forward.get_total_flops() // 2, on_the_way=backward.get_total_flops() // 2)
