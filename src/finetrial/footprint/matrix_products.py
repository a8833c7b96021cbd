"""The matrix products of one pass over a decoder, forward and backward, given what is trained.

The pass is walked in the order of the forward computation, carrying whether each value wants a gradient. Nothing
flows below the lowest trained matrix: its own input, and a frozen matrix beside it, need no gradient.

One product of T tokens with a matrix of n weights costs 2 T n. Backward it costs the same for the gradient of its
input and the same for the gradient of its weights, each where it is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.footprint.adapters import Full, Matrices, Trained
from finetrial.footprint.structure import ATTENTION_INPUT_ROLES, MLP_INPUT_ROLES, Layer, Linear, Shape


@dataclass(frozen=True, slots=True)
class PartFlops:
    """One part of one layer. `part` is a role, several joined by + in a fused linear, `scores`, or `head`."""

    part: str
    layer: int | None  # None: the head, above the layers
    adapter: bool  # the low-rank products beside a frozen matrix
    forward: int
    recompute: int = 0  # the forward pass again, under gradient checkpointing
    input_gradient: int = 0
    weight_gradient: int = 0

    @property
    def total(self) -> int:
        return self.forward + self.recompute + self.input_gradient + self.weight_gradient


class Walk:
    """Walks one pass in the order of the forward computation, carrying which values want a gradient."""

    def __init__(self, *, trained: Trained, tokens: int, backward: bool, checkpointing: bool) -> None:
        self.trained = trained
        self.tokens = tokens
        self.backward = backward
        self.checkpointing = checkpointing
        self.parts: list[PartFlops] = []

    def layer(self, shape: Shape, layer: Layer, *, index: int, pairs: int, wanted: bool) -> bool:
        """Count one layer; return whether its output wants a gradient."""
        reached = wanted or any(self.trained.roles(linear, index) for linear in layer.linears)
        stages = {
            "input": _select(layer.linears, ATTENTION_INPUT_ROLES),
            "o": _select(layer.linears, ("o",)),
            "mlp": _select(layer.linears, MLP_INPUT_ROLES),
            "down": _select(layer.linears, ("down",)),
        }
        assert sum(map(len, stages.values())) == len(layer.linears), "every linear belongs to one stage"

        def run(stage: str, *, input_wanted: bool) -> frozenset[str]:
            """Count a stage's linears; return the roles of theirs whose outputs want a gradient."""
            roles: set[str] = set()
            for linear in stages[stage]:
                self.linear(
                    linear, layer=index, tokens=self.tokens, input_wanted=input_wanted, checkpointed=reached
                )
                roles |= set(linear.roles) if input_wanted else self.trained.roles(linear, index)
            return frozenset(roles)

        projected = run("input", input_wanted=wanted)
        products = 2 * pairs * shape.heads * shape.head_size
        q, k, v = (role in projected for role in ("q", "k", "v"))
        self._add(
            "scores", index, 2 * products, input_gradient=(v + (q or k) + q + k) * products, checkpointed=reached
        )
        attended = bool(run("o", input_wanted=q or k or v)) or q or k or v
        residual = wanted if shape.parallel else wanted or attended
        opened = run("mlp", input_wanted=residual)
        # The router's weights multiply what `down` gives, so training the router alone asks nothing of `down`.
        inner = residual or bool(opened - {"router"})
        answered = bool(opened | run("down", input_wanted=inner)) or inner
        assert (wanted or attended or answered) == reached, "a layer is reached when its output wants a gradient"
        return reached

    def linear(
        self, linear: Linear, *, layer: int | None, tokens: int, input_wanted: bool, checkpointed: bool
    ) -> None:
        """Count a matrix and what stands beside it."""
        targets, addition = self.trained.on(linear, layer), self.trained.addition(linear, layer)
        product = 2 * tokens * linear.active * linear.inputs
        weight_gradient = 0
        if isinstance(self.trained.method, Full):
            weight_gradient = product * linear.outputs
        elif isinstance(self.trained.method, Matrices):
            weight_gradient = product * sum(target.outputs for target in targets)
        asked = input_wanted or (addition is not None and addition.scales_input)
        self._add(
            "+".join(linear.roles),
            layer,
            product * linear.outputs,
            input_gradient=product * linear.outputs if asked else 0,
            weight_gradient=weight_gradient,
            checkpointed=checkpointed,
        )
        if addition is None:
            return
        each = 2 * tokens * linear.active
        for target, products in zip(targets, addition.products, strict=True):
            self._add(
                "+".join(target.roles),
                layer,
                each * products.forward,
                input_gradient=each * (products.on_the_way + (products.to_input if input_wanted else 0)),
                weight_gradient=each * products.weights,
                checkpointed=checkpointed,
                adapter=True,
            )

    def _add(
        self,
        part: str,
        layer: int | None,
        forward: int,
        *,
        input_gradient: int = 0,
        weight_gradient: int = 0,
        checkpointed: bool,
        adapter: bool = False,
    ) -> None:
        recompute = forward if self.backward and self.checkpointing and checkpointed else 0
        if not self.backward:
            input_gradient = weight_gradient = 0
        self.parts.append(PartFlops(part, layer, adapter, forward, recompute, input_gradient, weight_gradient))


def _select(linears: tuple[Linear, ...], roles: tuple[str, ...]) -> tuple[Linear, ...]:
    return tuple(linear for linear in linears if linear.roles[0] in roles)
