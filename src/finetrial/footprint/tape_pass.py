"""Put a whole micro-batch on the tape: embedding, layers, head, loss, and backward through all of them."""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.footprint.adapters import Trained
from finetrial.footprint.anatomy import Anatomy, FastPaths, anatomy_of
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_attention import Row
from finetrial.footprint.tape_layers import Decoder
from finetrial.footprint.tape_linear import Weights
from finetrial.footprint.tape_loss import chunked_loss, whole_loss
from finetrial.footprint.tape_values import Kind, Value

FORWARD, LOSS = "forward", "end of forward, at the loss"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one pass over a micro-batch is made of."""

    shape: Shape
    row: Row
    trained: Trained
    paths: FastPaths
    dtype_bytes: int
    quantized: bool = False
    checkpointing: bool = False

    @property
    def anatomy(self) -> Anatomy:
        return anatomy_of(self.shape)

    def weights(self) -> Weights:
        return Weights(self.dtype_bytes, self.trained, self.quantized)

    def forward(self, tape: Tape, weights: Weights) -> tuple[Value, list[Value]]:
        """Forward to the loss, a scalar; and what is held until the pass is over."""
        tape.at(FORWARD)
        shape, row, dtype = self.shape, self.row, self.dtype_bytes
        inputs = [tape.leaf(16 * row.tokens + 16 * row.loss_tokens, Kind.inputs)]  # ids, positions, labels
        hidden, names = self._embedded(tape, weights)
        if self.anatomy.rotary_share:  # sine and cosine, which every layer reads
            turned = round(shape.head_size * self.anatomy.rotary_share)
            inputs.append(tape.leaf(2 * row.tokens * turned * dtype, Kind.inputs))
        decoder = Decoder(
            tape=tape,
            shape=shape,
            anatomy=self.anatomy,
            paths=self.paths,
            weights=weights,
            row=row,
            dtype_bytes=dtype,
        )
        for index in range(shape.depth):
            hidden = self._layer(tape, decoder, hidden, index)
        tape.at(LOSS)
        normed = decoder.norm(hidden, "final")
        tape.drop(hidden, *names)
        read = normed
        if row.loss_tokens != row.tokens:
            read = tape.op(normed, size=row.loss_tokens * shape.width * dtype, kind=Kind.loss)
        loss = self._loss(tape, weights, read)
        tape.drop(normed)
        if read is not normed:
            tape.drop(read)
        return loss, inputs

    def backward(self, tape: Tape, done: tuple[Value, list[Value]]) -> None:
        """Back from the loss to the lowest thing that is trained."""
        loss, inputs = done
        tape.at("backward of the loss")
        tape.backward(loss)
        tape.drop(loss, *inputs)

    def _embedded(self, tape: Tape, weights: Weights) -> tuple[Value, list[Value]]:
        """What enters the first layer, and what the backbone's code goes on naming until it returns."""
        shape, size = self.shape, self.row.tokens * self.shape.width * self.dtype_bytes
        full = weights.is_full
        table = weights.get(
            "embedding",
            entries=shape.vocabulary * shape.width,
            trained=full,
            uses=2 if shape.tied_head and not self.anatomy.caps_logits else 1,
        )
        by_rows = self.paths.sums_gradients
        wide = 4 * self.row.tokens * shape.width if full and by_rows else 0
        read = tape.op(
            size=size, kind=Kind.residuals, weights=(table,), writes_weight=not by_rows, backward_bytes=wide
        )
        if self.anatomy.scaled_embedding:
            scaled = tape.op(read, size=size, kind=Kind.residuals)
            tape.drop(read)
            read = scaled
        names = [read]
        if shape.position_rows:
            rows = weights.get("positions", entries=shape.position_rows * shape.width, trained=full)
            placed = tape.op(size=size, kind=Kind.residuals, weights=(rows,))
            names.append(placed)
            hidden = tape.op(read, placed, size=size, kind=Kind.residuals, passes=True)
        else:
            hidden = read
            hidden.storage.holds += 1
        return hidden, names

    def _layer(self, tape: Tape, decoder: Decoder, hidden: Value, index: int) -> Value:
        tape.at(f"layer {index + 1}")
        if not self.checkpointing:
            result = decoder.layer(hidden, index)
        else:
            trains = decoder.weights.is_full or any(
                self.trained.on(linear, index) for linear in self.shape.layers[index].linears
            )
            result = tape.recomputed(lambda: decoder.layer(hidden, index), hidden, trains=trains)
        tape.drop(hidden)
        return result

    def _loss(self, tape: Tape, weights: Weights, hidden: Value) -> Value:
        shape = self.shape
        if self.anatomy.caps_logits:
            return whole_loss(tape, hidden, shape=shape, weights=weights, tokens=self.row.loss_tokens)
        if shape.tied_head:
            head = weights.found[("embedding",)]
        else:
            trained = weights.is_full or bool(self.trained.on(shape.head, None))
            head = weights.get("head", entries=shape.head.weights, trained=trained)
        return chunked_loss(
            tape,
            hidden,
            shape=shape,
            weights=weights,
            paths=self.paths,
            tokens=self.row.loss_tokens,
            head=head,
        )
