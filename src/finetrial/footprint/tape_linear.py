"""Put matrix products on the tape: frozen, trained, with adapters, quantised.

A product keeps its input only where its own weight is trained: the gradient of its input needs the weight alone,
which is there anyway. An adapter keeps the input of its A, which is the product's, and the few numbers between A
and B (peft's linear layer: base, A, B, scaling and sum, one operation each).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from finetrial.footprint.adapters import Full, Lora, Matrices
from finetrial.footprint.structure import ATTENTION_INPUT_ROLES, Linear
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Value, Weight
from finetrial.footprint.walk import Trained


@dataclass(slots=True, eq=False)
class Weights:
    """Every weight that the pass meets, each once, by the place it stands in."""

    dtype_bytes: int
    trained: Trained
    quantized: bool
    found: dict[tuple[object, ...], Weight] = field(default_factory=dict)

    def get(self, *key: object, entries: int, trained: bool, uses: int = 1) -> Weight:
        if key not in self.found:
            self.found[key] = Weight(entries, self.dtype_bytes, trained, uses)
        return self.found[key]

    @property
    def is_full(self) -> bool:
        return isinstance(self.trained.method, Full)

    def small(self, *key: object, entries: int) -> Weight:
        """A norm's weights: trained with everything else or not at all."""
        return self.get(*key, entries=entries, trained=self.is_full)


def output_kind(linear: Linear) -> Kind:
    """What a product's result is for."""
    role = linear.roles[0]
    if role in ATTENTION_INPUT_ROLES:
        return Kind.projections
    return Kind.residuals if role in ("o", "down") else Kind.mlp


def linear_on(
    tape: Tape,
    weights: Weights,
    x: Value,
    linear: Linear,
    *,
    layer: int | None,
    tokens: int,
    adds_in_place: bool = False,
) -> Value:
    """The product of `tokens` rows with a linear and its adapters; `adds_in_place`: all of it as one operation."""
    dtype = weights.dtype_bytes
    rows = tokens * linear.active
    size = rows * linear.outputs * dtype
    targets = weights.trained.on(linear, layer)
    trains_base = weights.is_full or (isinstance(weights.trained.method, Matrices) and bool(targets))
    base = weights.get("weight", layer, linear.path, entries=linear.weights, trained=trains_base)
    own = [base]
    if linear.bias:
        bias = linear.params - linear.weights
        own.append(weights.get("bias", layer, linear.path, entries=bias, trained=weights.is_full))
    # four-bit weights are made wide for each product, forward and backward (bitsandbytes' MatMul4Bit)
    wide = linear.weights * dtype if is_quantized(linear, layer=layer) and weights.quantized else 0
    saves = (x,) if trains_base else ()
    adapted = isinstance(weights.trained.method, Lora) and bool(targets)
    if adapted and adds_in_place:
        return _adapted_on(tape, weights, x, linear, layer=layer, rows=rows, blocks=len(targets))
    result = tape.op(
        x, size=size, kind=output_kind(linear), saves=saves, weights=own, forward_bytes=wide, backward_bytes=wide
    )
    if not adapted:
        return result
    rank, a, b = _adapter(weights, linear, layer=layer, blocks=len(targets))
    low = tape.op(x, size=rows * rank * dtype, kind=Kind.low_rank, saves=(x,), weights=(a,))
    high = tape.op(low, size=size, kind=Kind.low_rank, saves=(low,), weights=(b,))
    scaled = tape.op(high, size=size, kind=Kind.low_rank)
    tape.drop(high)
    total = tape.op(result, scaled, size=size, kind=output_kind(linear), passes=True)
    tape.drop(result, scaled, low)
    return total


def _adapter(weights: Weights, linear: Linear, *, layer: int | None, blocks: int) -> tuple[int, Weight, Weight]:
    """The rank of a linear's adapter, which holds all blocks of a fused matrix, and its A and B."""
    assert isinstance(weights.trained.method, Lora)
    rank = weights.trained.method.rank * blocks
    a = weights.get("A", layer, linear.path, entries=linear.copies * rank * linear.inputs, trained=True)
    b = weights.get("B", layer, linear.path, entries=linear.copies * rank * linear.outputs, trained=True)
    return rank, a, b


def _adapted_on(
    tape: Tape, weights: Weights, x: Value, linear: Linear, *, layer: int | None, rows: int, blocks: int
) -> Value:
    """models/kernels/lora.py: keeps x and what stands between A and B."""
    dtype = weights.dtype_bytes
    rank, a, b = _adapter(weights, linear, layer=layer, blocks=blocks)
    low = rows * rank * dtype
    result = tape.op(
        x,
        size=rows * linear.outputs * dtype,
        kind=output_kind(linear),
        saves=(x,),
        weights=(a, b),
        backward_bytes=low,
    )
    if result.wanted:
        tape.keep_with_last(low, Kind.low_rank)
    return result


def is_quantized(linear: Linear, *, layer: int | None) -> bool:
    """Whether four-bit loading takes this linear: those of the layers, not the head, not tensors of experts."""
    return layer is not None and linear.copies == 1
