"""The parts of a decoder.

A `Shape` lists a causal language model's matrix products layer by layer, with everything else it stores counted
beside them. It holds no weights: parameters, adapters, storage and FLOPs are all computed from it.

A linear's *roles* say what its outputs are for. Most linears have one. A fused linear has several, in the order
in which its outputs stand: GPT-2's `attn.c_attn` is ("q", "k", "v"). Where the roles take turns, that order
repeats: GPT-NeoX has q, k and v of the first head, then those of the second, so that its *groups* are its heads.
"""

from __future__ import annotations

from dataclasses import dataclass

ATTENTION_INPUT_ROLES = ("q", "k", "v")
MLP_INPUT_ROLES = ("gate", "up", "router")


@dataclass(frozen=True, slots=True)
class Rows:
    """Output rows of a matrix: [start, stop) of each of its `groups` equal parts."""

    start: int
    stop: int
    groups: int = 1

    @property
    def count(self) -> int:
        return self.groups * (self.stop - self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """One matrix product of a layer: y = x W + b, `copies` times (experts), of which a token passes `active`."""

    path: str  # the module's name inside its layer, as transformers spells it
    roles: tuple[str, ...]
    inputs: int
    widths: tuple[int, ...]  # outputs of each role, of all groups together
    groups: int = 1  # how often the roles follow one another
    bias: bool = False
    copies: int = 1
    active: int = 1

    @property
    def outputs(self) -> int:
        return sum(self.widths)

    @property
    def weights(self) -> int:
        """Entries of the weight matrices, all copies, without biases."""
        return self.copies * self.inputs * self.outputs

    @property
    def params(self) -> int:
        """Weights and biases, all copies."""
        return self.weights + (self.copies * self.outputs if self.bias else 0)

    @property
    def active_params(self) -> int:
        """Weights and biases of the copies that one token passes through."""
        return self.params // self.copies * self.active

    def rows_of(self, roles: tuple[str, ...]) -> Rows:
        """The output rows of one role, or of all."""
        if roles == self.roles:
            return Rows(0, self.outputs)
        (role,) = roles
        place = self.roles.index(role)
        start = sum(self.widths[:place]) // self.groups
        return Rows(start, start + self.widths[place] // self.groups, self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    linears: tuple[Linear, ...]
    norm_params: int
    window: int | None  # how many tokens, itself included, a token attends to; None: all before it


@dataclass(frozen=True, slots=True)
class Published:
    """What a model's makers say it has; often round, sometimes counted otherwise than here."""

    params: float
    source: str
    active_params: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    name: str
    architecture: str  # Hugging Face's `model_type`
    width: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    context: int | None  # the longest sequence it was made for, where its configuration says so
    layers: tuple[Layer, ...]
    layer_path: str  # where layer {layer} stands in the transformers model
    position_rows: int  # rows of a learned position table; 0 when positions are rotary
    final_norm_params: int
    head: Linear
    tied_head: bool  # the head's matrix is the embedding
    parallel: bool  # attention and MLP read the same input
    published: Published | None = None

    @property
    def depth(self) -> int:
        return len(self.layers)

    @property
    def mixture(self) -> bool:
        """True when some layer holds experts of which a token passes only some."""
        return any(linear.copies != linear.active for layer in self.layers for linear in layer.linears)
