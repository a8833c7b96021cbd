"""Put matrix products on the tape: frozen, trained, with adapters, quantised.

A product keeps its input only where its own weight is trained: the gradient of its input needs the weight alone,
which is there anyway. An adapter keeps the input of its A, which is the product's, and the few numbers between A
and B (peft's linear layer: base, A, B, scaling and sum, one operation each).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from finetrial.footprint.adapters import Full, Matrices, Trained
from finetrial.footprint.beside import Addition, Lora
from finetrial.footprint.structure import ATTENTION_INPUT_ROLES, Linear
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Value, Weight


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
    addition = weights.trained.addition(linear, layer)
    if addition is not None and adds_in_place and not wide and isinstance(weights.trained.method, Lora):
        return _adapted_on(tape, weights, x, linear, layer=layer, rows=rows, addition=addition)
    result = tape.op(
        x, size=size, kind=output_kind(linear), saves=saves, weights=own, forward_bytes=wide, backward_bytes=wide
    )
    if addition is None:
        return result
    return _plain_addition(tape, weights, x, result, linear, layer=layer, rows=rows, addition=addition)


def _plain_addition(
    tape: Tape,
    weights: Weights,
    x: Value,
    result: Value,
    linear: Linear,
    *,
    layer: int | None,
    rows: int,
    addition: Addition,
) -> Value:
    """peft's own modules: what is kept beside the input, one operation after another, and the sum at the end."""
    dtype, size = weights.dtype_bytes, rows * linear.outputs * weights.dtype_bytes
    own = _own_weights(weights, linear, layer=layer, addition=addition)
    value = x
    for place, kept in enumerate(addition.kept):
        step = tape.op(
            value,
            size=rows * kept * dtype,
            kind=Kind.low_rank,
            saves=(value,),
            weights=(own[place],) if place < len(own) else (),
        )
        if value is not x:
            tape.drop(value)
        value = step
    high = tape.op(value, size=size, kind=Kind.low_rank, saves=(value,), weights=own[len(addition.kept) :])
    scaled = tape.op(high, size=size, kind=Kind.low_rank)
    tape.drop(high)
    total = tape.op(result, scaled, size=size, kind=output_kind(linear), passes=True)
    tape.drop(result, scaled, *(() if value is x else (value,)))
    return total


def _own_weights(weights: Weights, linear: Linear, *, layer: int | None, addition: Addition) -> tuple[Weight, ...]:
    """The parameters beside a linear, of all its copies."""
    return tuple(
        weights.get("beside", place, layer, linear.path, entries=linear.copies * matrix.entries, trained=True)
        for place, matrix in enumerate(addition.stands)
    )


def _adapted_on(
    tape: Tape, weights: Weights, x: Value, linear: Linear, *, layer: int | None, rows: int, addition: Addition
) -> Value:
    """LoRA's thin products (models/kernels/linear.py): keeps x and what stands between A and B."""
    low = rows * addition.kept[0] * weights.dtype_bytes
    result = tape.op(
        x,
        size=rows * linear.outputs * weights.dtype_bytes,
        kind=output_kind(linear),
        saves=(x,),
        weights=_own_weights(weights, linear, layer=layer, addition=addition),
        backward_bytes=low,
    )
    if result.wanted:
        tape.keep_with_last(low, Kind.low_rank)
    return result


def is_quantized(linear: Linear, *, layer: int | None) -> bool:
    """Whether four-bit loading takes this linear: those of the layers, not the head, not tensors of experts."""
    return layer is not None and linear.copies == 1
