"""Put the head and its loss on the tape: logits in chunks, their gradients made at once, or all logits together.

models/kernels/losses.py: a chunk's logits are float32, softmax and gradient are made in place, and only the
gradient of the hidden states (and, where it has no float32 sum, of the head) leaves the forward pass.

Shapes: M tokens that carry loss, m of them in a chunk, C width, V vocabulary.
"""

from __future__ import annotations

from finetrial.footprint.anatomy import FastPaths
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_linear import Weights, linear_on
from finetrial.footprint.tape_values import Kind, Storage, Value, Weight

# logits of a chunk on a CPU and on a card, twice as many where the head is trained (models/kernels/accelerator.py)
CHUNK_ENTRIES, CARD_CHUNK_ENTRIES = 8 << 20, 64 << 20
_LEAST_ROWS = 32
_SLICE_ROWS = 4096  # of the vocabulary: a slice of the head's gradient


def chunk_rows(vocabulary: int, *, trains_head: bool, on_card: bool = False) -> int:
    """Tokens whose logits stand at once."""
    entries = CARD_CHUNK_ENTRIES if on_card else CHUNK_ENTRIES
    return max(_LEAST_ROWS, (2 if trains_head else 1) * entries // vocabulary)


def chunked_loss(
    tape: Tape, hidden: Value, *, shape: Shape, weights: Weights, paths: FastPaths, tokens: int, head: Weight
) -> Value:
    """The loss of `tokens` hidden states, logits in chunks; a scalar."""
    dtype, vocabulary = weights.dtype_bytes, shape.vocabulary
    trains, gradients = head.trained, tape.keeps_gradients and (hidden.wanted or head.trained)
    rows = min(tokens, chunk_rows(vocabulary, trains_head=trains and gradients, on_card=paths.on_card))
    entries = rows * vocabulary
    loss = tape.store(4, Kind.loss)
    hidden_grad = tape.store(hidden.size, Kind.loss) if gradients and hidden.wanted else None
    # logits in float32 beside the differences that logsumexp makes of them, then beside the rounded gradient
    made, rounded = 8 * entries, (4 + (dtype if dtype < 4 else 0)) * entries
    if paths.on_card and gradients:  # narrow logits beside their float32 softmax, which becomes the gradient
        made = rounded = (4 + dtype) * entries
    weight_part: Storage | None = None
    if not (trains and gradients):
        tape.pulse(made, Kind.loss)
    elif paths.sums_gradients:
        slice_entries = (vocabulary if paths.on_card else min(_SLICE_ROWS, vocabulary)) * shape.width
        of_slice = slice_entries * (dtype + (4 if paths.widens_parts else 0))
        tape.pulse(max(made, rounded + of_slice), Kind.loss)
    elif tokens > rows:  # the sum over chunks is float32, and a chunk's part stands beside it
        total = tape.store(head.entries * 4, Kind.gradients)
        tape.pulse(max(made, rounded + head.entries * dtype), Kind.loss)
        weight_part = total if dtype == 4 else tape.store(head.entries * dtype, Kind.gradients)
        if weight_part is not total:
            tape.free(total)
    else:
        tape.pulse(made, Kind.loss)
        weight_part = tape.store(head.entries * dtype, Kind.gradients)
        tape.pulse(rounded, Kind.loss)
    result = Value(loss, 4, False)
    tape.note(
        (hidden,),
        (result,),
        kind=Kind.loss,
        weights=(head,) if trains else (),
        writes_weight=weight_part is not None,
        hands_over=hidden_grad,
        weight_part=weight_part,
    )
    return result


def whole_loss(tape: Tape, hidden: Value, *, shape: Shape, weights: Weights, tokens: int) -> Value:
    """The loss through the model's own head, which caps its logits: all of them stand at once."""
    dtype = weights.dtype_bytes
    entries = tokens * shape.vocabulary
    logits = linear_on(tape, weights, hidden, shape.head, layer=None, tokens=tokens)
    tape.becomes(logits.storage, Kind.loss)
    divided = tape.op(logits, size=entries * dtype, kind=Kind.loss)
    tape.drop(logits)
    bent = tape.op(divided, size=entries * dtype, kind=Kind.loss)
    tape.drop(divided)
    capped = tape.op(bent, size=entries * dtype, kind=Kind.loss, saves=(bent,))
    tape.drop(bent)
    wide = tape.op(capped, size=entries * 4, kind=Kind.loss) if dtype < 4 else capped
    logs = tape.op(wide, size=entries * 4, kind=Kind.loss)
    loss = tape.op(logs, size=4, kind=Kind.loss, saves=(logs,))
    tape.drop(logs, wide)
    if wide is not capped:
        tape.drop(capped)
    return loss
