"""Make a float32 copy of a model's first layers, on its own trained weights, to compare fast paths with plain ones.

At bfloat16 a trained model's hidden states differ by a quarter of their size for rounding alone (0.23 on
SmolLM2-135M packed and alone; 6e-6 in float32), so nothing can be decided there. A whole model at float32 may not
fit into memory: the copy holds the first two layers and the first of every further kind, with the embedding's rows
read from the model itself and the head's first rows.

Shapes: T tokens, C width, V vocabulary, R rows of the head.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

_FIRST_LAYERS = 2
_HEAD_ROWS = 512  # enough to see any cap or scale of logits. Assumption
_LARGE_EMBEDDING = 1 << 24  # entries: what is larger is read from the model, not copied. Assumption
_WHOLE_COPY = (
    1 << 29
)  # parameters up to which a model whose layers are not found is copied whole: 2 GiB. Assumption
# How far a layer sees, by the names that configurations and modules have for it. The copy sees as few tokens as a
# probe has, so that a window that is forgotten shows.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
_SHORT_WINDOW = 4
_Simple = (bool, int, float, str, type(None))
_PLACES = frozenset({"layer_idx", "layer_id", "training"})  # say where a module stands, not what it computes


class NoFloat32Copy(Exception):
    """No float32 copy of a part of this model can be made."""


class Float32Embedding(nn.Module):
    """Rows of a model's embedding, cast up; `read` keeps what was given, so that gradients can be asked for."""

    def __init__(self, embedding: nn.Module) -> None:
        super().__init__()
        self._embedding = (embedding,)  # hidden from parameters() and from casts
        self.read: list[torch.Tensor] = []

    @property
    def weight(self) -> torch.Tensor:
        weight = self._embedding[0].weight
        assert isinstance(weight, torch.Tensor)
        return weight

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            found = self._embedding[0](*inputs)
        wide: torch.Tensor = found.detach().float().requires_grad_()
        self.read.append(wide)
        return wide.clone()  # some models scale it in place


def module_kind(module: nn.Module) -> tuple[Any, ...]:
    """What makes a module compute as another does: its class, its plain attributes, its shapes, its children's."""
    attributes = tuple(
        sorted(
            (name, "a window" if name in _WINDOWS and value else repr(value))
            for name, value in vars(module).items()
            if isinstance(value, _Simple) and name not in _PLACES and not name.startswith("_")
        )
    )
    shapes = tuple((name, tuple(p.shape)) for name, p in module.named_parameters(recurse=False))
    children = tuple(
        (name, type(child).__qualname__ if next(child.parameters(), None) is None else "")
        for name, child in module.named_children()
    )
    return (type(module).__qualname__, attributes, shapes if module_is_small(module) else (), children)


def module_is_small(module: nn.Module) -> bool:
    """Whether all its own parameters have one dimension, as a norm's have."""
    return all(p.ndim <= 1 for p in module.parameters(recurse=False))


def _layer_kind(layer: nn.Module) -> tuple[Any, ...]:
    return tuple((name, module_kind(module)) for name, module in layer.named_modules())


def decoder_layers(model: PreTrainedModel) -> tuple[nn.Module, str, nn.ModuleList]:
    """The module that holds the decoder's layers, under which name, and the layers."""
    decoder = model.get_decoder()
    count = model.config.get_text_config().num_hidden_layers
    found = [
        (decoder, name, child)
        for name, child in decoder.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == count
    ]
    if len(found) != 1:
        raise NoFloat32Copy(f"{type(decoder).__name__} has no single list of its {count} layers")
    return found[0]


def chosen_layers(layers: nn.ModuleList) -> list[int]:
    """The first two layers' places and that of the first of every further kind."""
    seen: set[tuple[Any, ...]] = set()
    chosen = []
    for place, layer in enumerate(layers):
        kind = _layer_kind(layer)
        if place < _FIRST_LAYERS or kind not in seen:
            chosen.append(place)
        seen.add(kind)
    return chosen


def _configs(model: nn.Module) -> Iterator[Any]:
    seen: set[int] = set()
    for module in model.modules():
        config = getattr(module, "config", None)
        if config is not None and id(config) not in seen and hasattr(config, "num_hidden_layers"):
            seen.add(id(config))
            yield config


def _shorten(config: Any, chosen: list[int], *, count: int) -> None:
    if config.num_hidden_layers != count:
        return
    for name, value in list(vars(config).items()):  # what the configuration says layer by layer
        if isinstance(value, list) and len(value) == count:
            setattr(config, name, [value[i] for i in chosen])
    try:
        config.num_hidden_layers = len(chosen)
    except NotImplementedError as error:  # ProphetNet's configuration
        raise NoFloat32Copy(str(error).splitlines()[0]) from None


def _narrow_windows(model: nn.Module) -> None:
    for owner in (*model.modules(), *_configs(model)):
        for name in _WINDOWS:
            value = vars(owner).get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > _SHORT_WINDOW:
                setattr(owner, name, _SHORT_WINDOW)


def _unpacked_linear(module: nn.Module) -> nn.Linear | None:
    """A four-bit layer as a float32 one; None for other modules."""
    state = getattr(getattr(module, "weight", None), "quant_state", None)
    if state is None:
        return None
    from bitsandbytes.functional import dequantize_4bit  # optional package

    weight = dequantize_4bit(module.weight.data, state).float()
    bias = getattr(module, "bias", None)
    with torch.device("meta"):
        wide = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    wide.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        wide.bias = nn.Parameter(bias.detach().float(), requires_grad=False)
    return wide


def _kept_by(module: nn.Module) -> Iterator[Any]:
    for value in (*vars(module).values(), *module.buffers(recurse=False), *module.parameters(recurse=False)):
        yield from value if isinstance(value, (list, tuple)) else (value,)


def _widen(module: nn.Module) -> None:
    for param in module.parameters():
        if param.is_floating_point():
            param.data = param.data.float()
    for buffer in module.buffers():
        if buffer.is_floating_point():
            buffer.data = buffer.data.float()


def _deep_copy(model: PreTrainedModel, memo: dict[int, Any]) -> PreTrainedModel:
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # whatever a module of somebody else's holds
        raise NoFloat32Copy(f"a part of it cannot be copied: {error}"[:160]) from error


@torch.no_grad()
def float32_copy(
    model: PreTrainedModel, *, head: tuple[torch.Tensor, torch.Tensor | None] | None
) -> PreTrainedModel:
    """A float32 copy of a model's chosen layers; `head` is its output matrix [V, C] and bias where it is plain.

    Windows of attention are narrowed to a few tokens in it. The model is untouched afterwards. Raises NoFloat32Copy
    where no such copy can be made.
    """
    shortened: tuple[nn.Module, str, nn.ModuleList, list[int]] | None = None
    try:
        holder, name, layers = decoder_layers(model)
        shortened = holder, name, layers, chosen_layers(layers)
    except (NoFloat32Copy, AttributeError) as error:
        if sum(p.numel() for p in model.parameters()) > _WHOLE_COPY:
            raise NoFloat32Copy(str(error)) from None
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in _kept_by(module):
            if isinstance(value, RemovableHandle):
                memo[id(value)] = value  # of the model's own hooks, which the copy shares
            elif isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()  # a result has a history and cannot be copied
    embedding = model.get_input_embeddings()
    for module in model.modules():
        is_large = isinstance(module, nn.Embedding) and module.weight.numel() > _LARGE_EMBEDDING
        if module is embedding or is_large:
            memo[id(module)] = Float32Embedding(module)
        elif (linear := _unpacked_linear(module)) is not None and shortened is None:
            memo[id(module)] = linear
    if head is not None:
        weight_RC, bias_R = head[0][:_HEAD_ROWS], None if head[1] is None else head[1][:_HEAD_ROWS]
        with torch.device("meta"):
            narrow = nn.Linear(weight_RC.shape[1], weight_RC.shape[0], bias=bias_R is not None)
        narrow.weight = nn.Parameter(weight_RC.detach().float().clone())
        if bias_R is not None:
            narrow.bias = nn.Parameter(bias_R.detach().float().clone())
        memo[id(model.get_output_embeddings())] = narrow
    if shortened is None:
        found = _deep_copy(model, memo)
    else:
        holder, name, layers, chosen = shortened
        for place in chosen:
            for module in layers[place].modules():
                if (linear := _unpacked_linear(module)) is not None:
                    memo[id(module)] = linear
        setattr(holder, name, nn.ModuleList([layers[i] for i in chosen]))
        try:
            found = _deep_copy(model, memo)
        finally:
            setattr(holder, name, layers)
        for config in _configs(found):
            _shorten(config, chosen, count=len(layers))
    _widen(found)
    _narrow_windows(found)
    found.eval()
    return found
