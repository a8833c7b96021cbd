"""Count what stands in memory through a whole training step: weights, adapters, masks, trained matrices."""

from __future__ import annotations

from collections.abc import Iterator

from finetrial.footprint.adapters import Matrices, Method, additions
from finetrial.footprint.beside import Beside
from finetrial.footprint.optimizer_bytes import Matrix
from finetrial.footprint.parameters import count_parameters
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape_linear import is_quantized
from finetrial.footprint.targets import resolve_targets

# NF4 with double quantisation (Dettmers et al. 2023, section 3): 4 bits, an 8-bit scale for 64 weights, a float32
# scale for 256 of those scales
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)


def weight_pieces(shape: Shape, *, dtype_bytes: int, quantize: str | None = None) -> Iterator[int]:
    """The bytes of every parameter of the model, one after another, as they stand in memory.

    Quantised are the matrices of the layers, without their biases; embedding, head, norms and the tensors of
    experts stay at the precision.
    """
    yield shape.vocabulary * shape.width * dtype_bytes
    if shape.position_rows:
        yield shape.position_rows * shape.width * dtype_bytes
    for index, layer in enumerate(shape.layers):
        for linear in layer.linears:
            four_bits = quantize is not None and is_quantized(linear, layer=index)
            yield round(linear.weights * NF4_BITS / 8) if four_bits else linear.weights * dtype_bytes
            if linear.bias:
                yield (linear.params - linear.weights) * dtype_bytes
        yield layer.norm_params * dtype_bytes
    yield shape.final_norm_params * dtype_bytes
    if not shape.tied_head:
        yield shape.head.weights * dtype_bytes
    if shape.head.bias:
        yield shape.head.outputs * dtype_bytes


def weight_bytes(shape: Shape, *, dtype_bytes: int, quantize: str | None = None) -> int:
    """The model's own parameters as they stand in memory."""
    total = sum(weight_pieces(shape, dtype_bytes=dtype_bytes, quantize=quantize))
    assert quantize or total == count_parameters(shape).total * dtype_bytes, "every parameter is one of them"
    return total


def trained_matrices(shape: Shape, method: Method) -> tuple[Matrix, ...]:
    """Every parameter that is trained, as the optimizer sees them."""
    if isinstance(method, Beside):
        return tuple(
            matrix for linear, _, addition in additions(shape, method) for matrix in addition.stands * linear.copies
        )
    if isinstance(method, Matrices):
        targets = resolve_targets(shape, targets=method.targets, layers=method.layers)
        return tuple(Matrix(t.outputs, t.inputs) for t in targets for _ in range(t.matrices))
    found: list[Matrix] = [Matrix(shape.vocabulary, shape.width)]
    if shape.position_rows:
        found.append(Matrix(shape.position_rows, shape.width))
    for layer in shape.layers:
        for linear in layer.linears:
            found += [Matrix(linear.outputs, linear.inputs)] * linear.copies
            if linear.bias:
                found += [Matrix(1, linear.outputs)] * linear.copies
        found.append(Matrix(1, layer.norm_params))
    found.append(Matrix(1, shape.final_norm_params))
    if not shape.tied_head:
        found.append(Matrix(shape.head.outputs, shape.head.inputs))
    if shape.head.bias:
        found.append(Matrix(1, shape.head.outputs))
    assert sum(m.entries for m in found) == count_parameters(shape).total, "every parameter is one of them"
    return tuple(found)


def masked_bytes(shape: Shape, method: Method) -> int:
    """float32 masks over what stands beside a fused matrix of which only some rows are covered."""
    return 4 * sum(found.masked for _, _, found in additions(shape, method)) if isinstance(method, Beside) else 0
