"""Put norms, rotary positions, activations and gates on the tape, each as the model's code or a kernel computes it.

Shapes: T tokens, C width, H heads of size D. Every size is bytes.
"""

from __future__ import annotations

from finetrial.footprint.anatomy import Anatomy, FastPaths, Norm
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_values import Kind, Value, Weight

_CHUNK = 1 << 17  # entries that models/kernels/activations.py and rms_norm.py make float32 at once
_GELU_CHUNK_BYTES = 3 * 4 * _CHUNK


def norm_on(
    tape: Tape,
    x: Value,
    *,
    anatomy: Anatomy,
    paths: FastPaths,
    dtype_bytes: int,
    row_size: int,
    weight: Weight,
    kind: Kind = Kind.norms,
) -> Value:
    """A norm over rows of `row_size` entries."""
    size, entries = x.size, x.size // dtype_bytes
    statistics = 4 * entries // row_size
    wide_rows = 4 * _CHUNK  # some rows at float32
    if anatomy.norm is Norm.layer:
        return tape.op(x, size=size, kind=kind, saves=(x,), keeps=2 * statistics, weights=(weight,))
    if paths.rms_norm and tape.keeps_gradients:
        result = tape.op(
            x,
            size=size,
            kind=kind,
            saves=(x,),
            keeps=statistics,
            weights=(weight,),
            forward_bytes=min(wide_rows, 4 * entries),
            backward_bytes=3 * min(wide_rows, 4 * entries),
        )
        result.made_of = (x.storage,) if paths.remakes else ()
        return result
    wide_size = 4 * entries
    narrow = dtype_bytes < 4
    wide = tape.op(x, size=wide_size, kind=kind) if narrow else x
    square = tape.op(wide, size=wide_size, kind=kind, saves=(wide,))
    root = tape.op(square, size=statistics, kind=kind, saves_result=True)
    tape.drop(square)
    product = tape.op(wide, root, size=wide_size, kind=kind, saves=(wide, root), backward_bytes=wide_size)
    tape.drop(root)
    if narrow:
        tape.drop(wide)
    keeps_product = (product,) if weight.trained else ()
    scales = wide_size if weight.trained else 0
    if anatomy.norm is Norm.rms_wide:
        scaled = tape.op(
            product, size=wide_size, kind=kind, saves=keeps_product, weights=(weight,), backward_bytes=scales
        )
        tape.drop(product)
        if not narrow:
            return scaled
        result = tape.op(scaled, size=size, kind=kind)
        tape.drop(scaled)
        return result
    if narrow:
        rounded = tape.op(product, size=size, kind=kind)
        tape.drop(product)
        product, keeps_product = rounded, (rounded,) if weight.trained else ()
        scales = size if weight.trained else 0
    result = tape.op(product, size=size, kind=kind, saves=keeps_product, weights=(weight,), backward_bytes=scales)
    tape.drop(product)
    return result


def rotary_on(tape: Tape, x: Value, *, share: float) -> Value:
    """Rotary positions on `share` of each head: x cos + rotate_half(x) sin. The input is not kept.

    Written out, each pass makes its two products, the rotated half and their sum; gradients of the two halves are
    zero-filled and added.
    """
    turned = round(share * x.size)
    if share < 1:  # the rest of the head is put behind it again
        return tape.op(x, size=x.size, kind=Kind.projections, forward_bytes=4 * turned, backward_bytes=2 * x.size)
    return tape.op(x, size=x.size, kind=Kind.projections, forward_bytes=2 * turned, backward_bytes=3 * turned)


def activation_on(tape: Tape, x: Value, *, anatomy: Anatomy, paths: FastPaths) -> Value:
    """The activation function. It keeps its input, or its derivative."""
    if anatomy.activation == "gelu_tanh" and paths.tanh_gelu and tape.keeps_gradients and x.wanted:
        return tape.op(x, size=x.size, kind=Kind.activation, keeps=x.size, forward_bytes=_GELU_CHUNK_BYTES)
    result = tape.op(x, size=x.size, kind=Kind.activation, saves=() if anatomy.activation == "relu" else (x,))
    return result


def gate_on(tape: Tape, gate: Value, up: Value, *, anatomy: Anatomy, paths: FastPaths) -> Value:
    """activation(gate) times up; the names of both go out of scope."""
    if paths.gate and (anatomy.activation == "silu" or paths.on_card) and tape.keeps_gradients:
        result = tape.op(
            gate,
            up,
            size=up.size,
            kind=Kind.mlp,
            saves=(gate, up),
            backward_bytes=0 if paths.on_card else up.size,
            overwrites=paths.on_card,
        )
        result.made_of = (gate.storage, up.storage) if paths.remakes else ()
        tape.drop(gate, up)
        return result
    active = activation_on(tape, gate, anatomy=anatomy, paths=paths)
    tape.drop(gate)
    result = product_on(tape, active, up)
    result.made_of = (active.storage, up.storage) if paths.gate and paths.remakes else ()
    tape.drop(active, up)
    return result


def product_on(tape: Tape, one: Value, other: Value) -> Value:
    """The product of two values, each kept where the other's gradient is wanted."""
    saves = [a for a, b in ((one, other), (other, one)) if b.wanted]
    return tape.op(one, other, size=other.size, kind=Kind.mlp, saves=saves)
