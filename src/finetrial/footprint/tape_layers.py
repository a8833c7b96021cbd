"""Put a decoder's layers on the tape, in the order in which transformers computes them.

The names that its code holds while it computes are held here, too: a layer's input lives until the layer returns,
the queries until the attention returns. What a name holds and nothing keeps for backward is gone afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finetrial.footprint.anatomy import Anatomy, FastPaths, Placement
from finetrial.footprint.structure import ATTENTION_INPUT_ROLES, Layer, Linear, Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_attention import Row, attention_on
from finetrial.footprint.tape_linear import Weights, linear_on
from finetrial.footprint.tape_parts import activation_on, gate_on, norm_on, product_on, rotary_on
from finetrial.footprint.tape_values import Kind, Value


@dataclass(slots=True, eq=False, kw_only=True)
class Decoder:
    """Runs layers of one shape over one row."""

    tape: Tape
    shape: Shape
    anatomy: Anatomy
    paths: FastPaths
    weights: Weights
    row: Row
    dtype_bytes: int

    def norm(self, x: Value, *key: object, row_size: int | None = None, kind: Kind = Kind.norms) -> Value:
        row_size = row_size or self.shape.width
        entries = 2 * row_size if self.anatomy.norm == "layer norm" else row_size
        return norm_on(
            self.tape,
            x,
            anatomy=self.anatomy,
            paths=self.paths,
            dtype_bytes=self.dtype_bytes,
            row_size=row_size,
            weight=self.weights.small("norm", *key, entries=entries),
            kind=kind,
        )

    def _linear(self, x: Value, linear: Linear, index: int) -> Value:
        return linear_on(
            self.tape,
            self.weights,
            x,
            linear,
            layer=index,
            tokens=self.row.tokens,
            adds_in_place=self.paths.low_rank and self.tape.keeps_gradients,
        )

    def _part(self, whole: Value, share: float) -> Value:
        """A view of some of a tensor's columns."""
        whole.storage.holds += 1
        return Value(whole.storage, round(whole.size * share), whole.wanted)

    def _projected(self, x: Value, linears: list[Linear], index: int) -> tuple[Value, Value, Value]:
        if len(linears) > 1:
            q, k, v = (self._linear(x, linear, index) for linear in linears)
            return q, k, v
        whole = self._linear(x, linears[0], index)
        widths = (self.shape.heads, self.shape.kv_heads, self.shape.kv_heads)
        parts = [self._part(whole, width / sum(widths)) for width in widths]
        self.tape.note((whole,), parts, kind=Kind.projections)
        self.tape.drop(whole)
        return parts[0], parts[1], parts[2]

    def _attention(self, x: Value, layer: Layer, index: int) -> Value:
        tape, shape = self.tape, self.shape
        linears = [linear for linear in layer.linears if linear.roles[0] in ATTENTION_INPUT_ROLES]
        q, k, v = self._projected(x, linears, index)
        if self.anatomy.head_norms:
            # OLMo 2 norms all heads together, the others each by itself
            together = self.anatomy.placement is Placement.after
            rows = (shape.heads, shape.kv_heads) if together else (1, 1)
            named: list[Value] = []
            for value, name, heads in zip((q, k), ("q", "k"), rows, strict=True):
                size = heads * shape.head_size
                named.append(self.norm(value, index, name, row_size=size, kind=Kind.projections))
                tape.drop(value)
            q, k = named
        share = self.anatomy.rotary_share
        fast = self.paths.rotary and share == 1 and len(linears) > 1
        turns = fast and not self.paths.flash
        if share and not turns and not (fast and self.paths.on_card):  # there they are turned in place
            turned = [rotary_on(tape, x, share=share) for x in (q, k)]
            tape.drop(q, k)
            q, k = turned
        attended = attention_on(
            tape, q, k, v, shape=shape, row=self.row, paths=self.paths, dtype_bytes=self.dtype_bytes, turns=turns
        )
        output = next(linear for linear in layer.linears if linear.roles == ("o",))
        result = self._linear(attended, output, index)
        tape.drop(attended, q, k, v)
        return result

    def _mlp(self, x: Value, layer: Layer, index: int) -> Value:
        """The MLP; of a mixture its experts (tokens gathered, weighted sums) and what every token passes."""
        tape = self.tape
        results: list[Value] = []
        groups: dict[str, dict[str, Linear]] = {}
        for linear in layer.linears:
            if linear.roles[0] in (*ATTENTION_INPUT_ROLES, "o"):
                continue
            if linear.roles == ("router",):
                tape.drop(self._linear(x, linear, index))
                continue
            groups.setdefault(linear.path.rpartition(".")[0], {})["+".join(linear.roles)] = linear
        for group in groups.values():
            results.append(self._one_mlp(x, group, index))
        while len(results) > 1:
            two = [results.pop(), results.pop()]
            results.append(tape.op(*two, size=two[0].size, kind=Kind.residuals, passes=True))
            tape.drop(*two)
        return results[0]

    def _one_mlp(self, x: Value, group: dict[str, Linear], index: int) -> Value:
        tape, down = self.tape, group["down"]
        sparse = down.copies > 1
        read = x
        if sparse:
            read = tape.op(x, size=x.size * down.active, kind=Kind.mlp)
        if "up" in group and "gate" not in group:
            opened = self._linear(read, group["up"], index)
            inner = activation_on(tape, opened, anatomy=self.anatomy, paths=self.paths)
            tape.drop(opened)
        elif "gate+up" in group:
            both = self._linear(read, group["gate+up"], index)
            gate, up = self._part(both, 0.5), self._part(both, 0.5)
            tape.note((both,), (gate, up), kind=Kind.mlp)
            tape.drop(both)
            inner = gate_on(tape, gate, up, anatomy=self.anatomy, paths=self.paths)
        elif self.paths.gate:
            gate, up = self._linear(read, group["gate"], index), self._linear(read, group["up"], index)
            inner = gate_on(tape, gate, up, anatomy=self.anatomy, paths=self.paths)
        else:  # as the model writes it, the activation is done before up is there
            gate = self._linear(read, group["gate"], index)
            active = activation_on(tape, gate, anatomy=self.anatomy, paths=self.paths)
            tape.drop(gate)
            up = self._linear(read, group["up"], index)
            inner = product_on(tape, active, up)
            tape.drop(active, up)
        result = self._linear(inner, down, index)
        tape.drop(inner)
        if sparse:
            summed = tape.op(result, size=x.size, kind=Kind.residuals, saves=(result,))
            tape.drop(result, read)
            return summed
        return result

    def _added(self, one: Value, other: Value) -> Value:
        return self.tape.op(one, other, size=one.size, kind=Kind.residuals, passes=True)

    def layer(self, x: Value, index: int) -> Value:
        """One layer's output; its input stays with whoever holds it."""
        tape, layer, placement = self.tape, self.shape.layers[index], self.anatomy.placement
        if placement is Placement.beside and self.shape.parallel:
            return self._beside(x, layer, index)
        before = placement is not Placement.after
        after = placement in (Placement.after, Placement.around)
        hidden = x
        parts: tuple[tuple[str, Any], ...] = (("attention", self._attention), ("mlp", self._mlp))
        for name, part in parts:
            read = self.norm(hidden, index, name) if before else hidden
            result = part(read, layer, index)
            if before:
                tape.drop(read)
            if after:
                normed = self.norm(result, index, name, "after")
                tape.drop(result)
                result = normed
            total = self._added(hidden, result)
            tape.drop(result)
            if hidden is not x:
                tape.drop(hidden)
            hidden = total
        return hidden

    def _beside(self, x: Value, layer: Layer, index: int) -> Value:
        tape = self.tape
        first = self.norm(x, index, "attention")
        attended = self._attention(first, layer, index)
        second = first
        if not self.anatomy.shared_norm:
            tape.drop(first)
            second = self.norm(x, index, "mlp")
        answered = self._mlp(second, layer, index)
        tape.drop(second)
        both = self._added(attended, answered)
        total = self._added(both, x)
        tape.drop(attended, answered, both)
        return total
