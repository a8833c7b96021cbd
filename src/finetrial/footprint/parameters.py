"""Count a shape's parameters, by group, and those that one token uses."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.footprint.structure import ATTENTION_INPUT_ROLES, Layer, Linear, Shape


@dataclass(frozen=True, kw_only=True)
class ParameterCount:
    """Stored parameters by group; a tied head counts once, as the embedding."""

    embedding: int
    positions: int
    attention: int
    mlp: int  # dense MLPs and shared experts, which every token passes
    experts: int
    router: int
    norms: int
    head: int
    idle: int  # of the experts, what one token does not use

    @property
    def total(self) -> int:
        layers = self.attention + self.mlp + self.experts + self.router + self.norms
        return self.embedding + self.positions + layers + self.head

    @property
    def active(self) -> int:
        """What one token uses: all but the experts that it is not routed to."""
        return self.total - self.idle

    def groups(self) -> dict[str, int]:
        """Every group that is not empty, in the order in which a token meets it."""
        names = ("embedding", "positions", "attention", "router", "mlp", "experts", "norms", "head")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def _group(linear: Linear) -> str:
    if linear.copies > 1:
        return "experts"
    role = linear.roles[0]
    if role in (*ATTENTION_INPUT_ROLES, "o"):
        return "attention"
    return "router" if role == "router" else "mlp"


def _layer_sum(layers: tuple[Layer, ...], group: str) -> int:
    return sum(linear.params for layer in layers for linear in layer.linears if _group(linear) == group)


def count_parameters(shape: Shape) -> ParameterCount:
    """Count what the shape stores. The tests hold the sum against the real model on the meta device."""
    head = 0 if shape.tied_head else shape.head.weights
    idle = sum(linear.params - linear.active_params for layer in shape.layers for linear in layer.linears)
    count = ParameterCount(
        embedding=shape.vocabulary * shape.width,
        positions=shape.position_rows * shape.width,
        attention=_layer_sum(shape.layers, "attention"),
        mlp=_layer_sum(shape.layers, "mlp"),
        experts=_layer_sum(shape.layers, "experts"),
        router=_layer_sum(shape.layers, "router"),
        norms=sum(layer.norm_params for layer in shape.layers) + shape.final_norm_params,
        head=head + (shape.head.outputs if shape.head.bias else 0),
        idle=idle,
    )
    assert sum(count.groups().values()) == count.total, "the groups must add up"
    return count


def multiplied_parameters(shape: Shape) -> int:
    """The weights that one token is multiplied with, head included: the N of the rule 2 N a token forward.

    No biases, norms, look-ups, or experts that the token does not pass. A tied head is multiplied too.
    """
    layers = sum(
        linear.weights // linear.copies * linear.active for layer in shape.layers for linear in layer.linears
    )
    return layers + shape.head.weights
