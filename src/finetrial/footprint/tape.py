"""Follow every tensor's bytes through a training step, symbolically: what is made, kept for backward, and let go.

A `Tape` is an automatic differentiation that computes sizes instead of numbers. An operation makes a storage, may
keep others for its backward pass, and is noted; backward runs the notes in reverse, makes the gradients that are
wanted and lets go of what was kept. A storage lives as long as something holds it: a name in the forward code, a
note, a gradient on its way. The bytes alive are counted by kind at every moment, so that a peak can be itemised and
its parts add up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from finetrial.footprint.tape_values import Kind, Peak, Storage, Value, Weight


class Sums(Protocol):
    """What becomes of a weight's gradient when it is there."""

    def take(self, tape: Tape, weight: Weight, part: Storage) -> None: ...


class Allocator(Protocol):
    """Where storages are laid; told of every one that is made and let go."""

    def rounded(self, size: int) -> int: ...

    def make(self, size: int) -> int: ...

    def free(self, place: int) -> None: ...


@dataclass(slots=True, eq=False)
class _Node:
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    saved: list[Storage]
    weights: tuple[Weight, ...]
    passes: bool  # the gradient of every input is the output's own, not a new tensor
    backward_bytes: int  # needed while it runs backward, beside gradients
    remade: tuple[Value, ...] = ()  # made again when it runs backward
    hands_over: Storage | None = None  # the input's gradient, made in the forward pass
    weight_part: Storage | None = None  # the weight's gradient, made in the forward pass
    writes_weight: bool = True  # False: its weights' gradients are summed without being tensors of their own
    overwrites: bool = False  # the inputs' gradients are written over what was kept of them
    again: Callable[[], Value] | None = None  # recomputes a part of the forward pass
    moment: str = ""


class Tape:
    """Counts the bytes of one pass. `sums` takes the weights' gradients."""

    def __init__(self, *, sums: Sums, allocator: Allocator | None = None) -> None:
        self._sums = sums
        self._allocator = allocator
        self._nodes: list[_Node] = []
        self._last_remade: tuple[Value, Storage] | None = None
        self._recording = True
        self.remakes = True  # False inside a part that is recomputed as a whole
        self.keeps_gradients = True  # False: evaluation and sampling, where nothing is kept for backward
        self.live = 0
        self.by_kind: dict[Kind, int] = dict.fromkeys(Kind, 0)
        self.moment = "start"
        self.peaks: dict[str, Peak] = {}
        self._peak_here = -1

    # -- storages

    def at(self, moment: str) -> None:
        """Everything from here on belongs to `moment`."""
        self.moment = moment
        found = self.peaks.get(moment)
        self._peak_here = -1 if found is None else found.total_bytes
        self._look()

    def _look(self) -> None:
        if self.live > self._peak_here:
            self._peak_here = self.live
            self.peaks[self.moment] = Peak(self.moment, self.live, dict(self.by_kind))

    def store(self, size: int, kind: Kind) -> Storage:
        """Make a storage, held once."""
        place = -1
        if self._allocator is not None:
            size = self._allocator.rounded(size)
            place = self._allocator.make(size)
        self.live += size
        self.by_kind[kind] += size
        self._look()
        return Storage(size, kind, place=place)

    def free(self, storage: Storage) -> None:
        """Let go of one hold; the last one frees the bytes."""
        storage.holds -= 1
        assert storage.holds >= 0, "a storage is freed once"
        if storage.holds:
            return
        self.live -= storage.size
        self.by_kind[storage.kind] -= storage.size
        if self._allocator is not None:
            self._allocator.free(storage.place)

    def becomes(self, storage: Storage, kind: Kind) -> None:
        """The same bytes are of another kind from now on."""
        self.by_kind[storage.kind] -= storage.size
        self.by_kind[kind] += storage.size
        storage.kind = kind

    def pulse(self, size: int, kind: Kind = Kind.temporaries) -> None:
        """Bytes that are made and freed again."""
        if size > 0:
            self.free(self.store(size, kind))

    def leaf(self, size: int, kind: Kind, *, wanted: bool = False) -> Value:
        """A tensor that no operation made."""
        return Value(self.store(size, kind), size, wanted)

    def drop(self, *values: Value | None) -> None:
        """The forward code's names for these go out of scope."""
        for value in values:
            if value is not None:
                self.free(value.storage)

    # -- operations

    def op(
        self,
        *inputs: Value,
        size: int,
        kind: Kind,
        saves: Sequence[Value] = (),
        saves_result: bool = False,
        keeps: int = 0,
        weights: Sequence[Weight] = (),
        passes: bool = False,
        view: bool = False,
        forward_bytes: int = 0,
        backward_bytes: int = 0,
        writes_weight: bool = True,
        overwrites: bool = False,
    ) -> Value:
        """One operation with one result of `size` bytes.

        `saves` are kept for backward where there is one, with the result itself where `saves_result`; `keeps` bytes
        beside them are neither input nor output. `view`: the result shares the first input's storage.
        `forward_bytes` and `backward_bytes` are needed while it runs. `overwrites`: the inputs' gradients take the
        memory of what was kept of them.
        """
        if view:
            storage = inputs[0].storage
            storage.holds += 1
        else:
            storage = self.store(size, kind)
        self.pulse(forward_bytes)
        result = Value(storage, size, False)
        self.note(
            inputs,
            (result,),
            saves=(*saves, result) if saves_result else saves,
            keeps=keeps,
            kind=kind,
            weights=weights,
            passes=passes,
            backward_bytes=backward_bytes,
            writes_weight=writes_weight,
            overwrites=overwrites,
        )
        return result

    def note(
        self,
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        *,
        kind: Kind,
        saves: Sequence[Value] = (),
        keeps: int = 0,
        weights: Sequence[Weight] = (),
        passes: bool = False,
        backward_bytes: int = 0,
        writes_weight: bool = True,
        hands_over: Storage | None = None,
        weight_part: Storage | None = None,
        overwrites: bool = False,
    ) -> None:
        """Note an operation whose results are there already."""
        wanted = self.keeps_gradients and (any(v.wanted for v in inputs) or any(w.trained for w in weights))
        for value in outputs:
            value.wanted = wanted
        if not wanted or not self._recording:
            return
        saved = []
        remade = tuple(value for value in saves if value.made_of and self.remakes)
        for value in saves:
            for storage in value.made_of if value in remade else (value.storage,):
                storage.holds += 1
                saved.append(storage)
        if keeps:
            saved.append(self.store(keeps, kind))
        self._nodes.append(
            _Node(
                tuple(inputs),
                tuple(outputs),
                saved,
                tuple(w for w in weights if w.trained),
                passes,
                backward_bytes,
                hands_over=hands_over,
                weight_part=weight_part,
                writes_weight=writes_weight,
                moment=self.moment,
                remade=remade,
                overwrites=overwrites,
            )
        )

    def keep_with_last(self, size: int, kind: Kind) -> None:
        """The newest note keeps that many bytes more, of another kind than its result."""
        if self._recording and self.keeps_gradients:
            self._nodes[-1].saved.append(self.store(size, kind))

    def recomputed(self, part: Callable[[], Value], value: Value, *, trains: bool) -> Value:
        """Run `part`, which reads `value`, and keep nothing but `value`: backward runs it once more."""
        if not self.keeps_gradients or not (value.wanted or trains):
            return part()
        self._recording = False
        result = part()
        self._recording = True
        result.wanted = True
        value.storage.holds += 1
        self._nodes.append(
            _Node((value,), (result,), [value.storage], (), False, 0, again=part, moment=self.moment)
        )
        return result

    # -- backward

    def backward(self, loss: Value) -> None:
        """Run everything that was noted in reverse, from `loss`."""
        grads: dict[int, Storage] = {id(loss): self.store(4, Kind.flowing)}
        nodes, self._nodes = self._nodes, []
        self._run(nodes, grads)
        self._let_remade_go()
        assert not grads, "every gradient is used"

    def _run(self, nodes: list[_Node], grads: dict[int, Storage]) -> None:
        while nodes:
            node = nodes.pop()
            self.back_to(node.moment)
            arrived = [grads.pop(id(v)) for v in node.outputs if id(v) in grads]
            if arrived and node.again is not None:
                self._run_again(node, arrived[0], grads)
                continue
            if arrived:
                self._run_node(node, arrived, grads)
            for storage in node.saved:
                self.free(storage)

    def back_to(self, moment: str) -> None:
        """Backward has come to what a moment of the forward pass made."""
        if moment.startswith("layer"):
            self.at(f"backward of {moment}")

    def _let_remade_go(self) -> None:
        if self._last_remade is not None:
            self.free(self._last_remade[1])
            self._last_remade = None

    def _remake(self, value: Value) -> None:
        """Make a value again; it stands until another one is asked for."""
        if self._last_remade is None or self._last_remade[0] is not value:
            self._let_remade_go()
            self._last_remade = (value, self.store(value.size, value.storage.kind))

    def _run_node(self, node: _Node, arrived: list[Storage], grads: dict[int, Storage]) -> None:
        for value in node.remade:
            self._remake(value)
        made: list[tuple[Value, Storage]] = []
        for value in node.inputs:
            if not value.wanted:
                continue
            if node.hands_over is not None:
                made.append((value, node.hands_over))
            elif node.passes:
                arrived[0].holds += 1
                made.append((value, arrived[0]))
            elif node.overwrites and value.storage.size == value.size:
                value.storage.holds += 1
                self.becomes(value.storage, Kind.flowing)
                made.append((value, value.storage))
            else:
                made.append((value, self.store(value.size, Kind.flowing)))
        parts: list[tuple[Weight, Storage]] = []
        if node.writes_weight:
            for weight in node.weights:
                ready = node.weight_part or self.store(weight.entries * weight.width, Kind.gradients)
                parts.append((weight, ready))
        self.pulse(node.backward_bytes)
        for storage in arrived:
            self.free(storage)
        for storage in node.saved:
            self.free(storage)
        node.saved = []
        for value, storage in made:
            self._accumulate(grads, value, storage)
        for weight, part in parts:
            self._weight(weight, part)

    def _accumulate(self, grads: dict[int, Storage], value: Value, storage: Storage) -> None:
        old = grads.get(id(value))
        if old is None:
            grads[id(value)] = storage
        elif old.holds == 1:  # nobody else reads it: added in place
            self.free(storage)
        else:
            grads[id(value)] = self.store(value.size, Kind.flowing)
            self.free(old)
            self.free(storage)

    def _weight(self, weight: Weight, part: Storage) -> None:
        """A part of a weight's gradient; it is handed on when all its uses have given theirs."""
        weight.parts_seen += 1
        if weight.waiting is not None:
            self.free(part)
            part, weight.waiting = weight.waiting, None
        if weight.parts_seen < weight.uses:
            weight.waiting = part
            return
        weight.parts_seen = 0
        self._sums.take(self, weight, part)

    def _run_again(self, node: _Node, arrived: Storage, grads: dict[int, Storage]) -> None:
        assert node.again is not None
        (value,) = node.inputs
        self.remakes = False
        result = node.again()
        self.remakes = True
        inner, self._nodes = self._nodes, []
        self.drop(result)
        inside: dict[int, Storage] = {id(result): arrived}
        self._run(inner, inside)
        if id(value) in inside:
            self._accumulate(grads, value, inside.pop(id(value)))
        assert not inside, "a recomputed part has one input"
        for storage in node.saved:
            self.free(storage)
