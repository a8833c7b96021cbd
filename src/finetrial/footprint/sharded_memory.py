"""Count the bytes of a training step on each of several devices that share a model out (training/sharding.py).

On the tape of a whole model stand a device's shares instead of all weights, masters, gradients and states; what
FSDP2 gathers and sums comes and goes with the layers. Forward, a layer's weights stand beside the buffer they were
gathered in; backward, beside the next layer's buffer and the gradients that the last layer's sum was made from.
"""

from __future__ import annotations

from dataclasses import replace

from finetrial.errors import UserError
from finetrial.footprint.adapters import Method, trained_of, trained_parameters
from finetrial.footprint.beside import Beside
from finetrial.footprint.cuda_allocator import CudaAllocator
from finetrial.footprint.shares import Shares, Unit, shares_of
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Allocator, Tape
from finetrial.footprint.tape_pass import FORWARD, LOSS, Pass
from finetrial.footprint.tape_values import Kind, Peak, Storage, Weight
from finetrial.footprint.training_memory import STEP, WORKSPACE_BYTES, Training, TrainingMemory

EXCHANGED = 1 << 24  # numbers that are exchanged at once while gradients are summed (training/sharding.py)
# bytes of states for a float32 number: what reads more than its rows of a matrix is not sharded
_STATE_BYTES = {"adamw": 8, "sgd": 0}


def can_shard(method: Method, *, optimizer: str) -> bool:
    """Whether devices can share out what is trained: not adapters, and with an optimizer that steps row by row."""
    return not isinstance(method, Beside) and optimizer in _STATE_BYTES


class _Gradients:
    """Keeps weights' gradients until their layer's are summed; then a device has its share, in float32."""

    def __init__(self) -> None:
        self._parts: list[Storage] = []
        self._there: set[int] = set()
        self._buffer: Storage | None = None  # what the last sum was made from; freed before the next one
        self.total_bytes = 0

    def take(self, tape: Tape, weight: Weight, part: Storage) -> None:
        self._parts.append(part)

    def reduce(self, tape: Tape, unit: Unit) -> None:
        """Sum the gradients of a unit over the devices."""
        self.let_go(tape)
        if unit.trained_share:
            self._buffer = tape.store(4 * unit.summed, Kind.summing)
        for part in self._parts:
            tape.free(part)
        self._parts.clear()
        share = 4 * unit.trained_share
        new = tape.store(share, Kind.gradients)
        tape.pulse(4 * min(unit.summed, EXCHANGED) * (1 if unit.summed <= EXCHANGED else 2), Kind.summing)
        if id(unit) in self._there:
            tape.free(new)  # added to what stands
        else:
            self.total_bytes += new.size
        self._there.add(id(unit))

    def let_go(self, tape: Tape) -> None:
        if self._buffer is not None:
            tape.free(self._buffer)
            self._buffer = None


class _SharedTape(Tape):
    """Gathers what a moment needs when it begins."""

    def __init__(
        self, shares: Shares, *, dtype_bytes: int, gradients: _Gradients, allocator: Allocator | None = None
    ) -> None:
        super().__init__(sums=gradients, allocator=allocator)
        self._shares, self._dtype, self._gradients = shares, dtype_bytes, gradients
        self._rest: Storage | None = None
        self._layer: int | None = None  # whose weights stand
        self._weights: Storage | None = None
        self._buffer: Storage | None = None  # forward the layer's own, backward the next one's

    def _gather(self, unit: Unit) -> Storage:
        return self.store(self._dtype * unit.gathered, Kind.gathered)

    def at(self, moment: str) -> None:
        if moment == FORWARD:
            self.pulse(self._dtype * self._shares.rest.gathered, Kind.gathered)
            self._rest = self._gather(self._shares.rest)
        elif moment.startswith("layer "):
            self._enter(int(moment.removeprefix("layer ")) - 1)
        elif moment == LOSS:
            self._leave()
        super().at(moment)

    def _enter(self, index: int) -> None:
        self._leave()
        buffer = self._gather(self._shares.layers[index])
        self._drop_buffer()
        self._buffer = buffer
        self._weights, self._layer = self._gather(self._shares.layers[index]), index

    def _leave(self) -> None:
        if self._weights is not None:
            self.free(self._weights)
        self._weights = self._layer = None

    def _drop_buffer(self) -> None:
        if self._buffer is not None:
            self.free(self._buffer)
            self._buffer = None

    def back_to(self, moment: str) -> None:
        if moment.startswith("layer "):
            index = int(moment.removeprefix("layer ")) - 1
            if index != self._layer:
                self._leave_backward()
                super().back_to(moment)
                self._enter_backward(index)
            else:
                super().back_to(moment)
        elif moment == FORWARD:
            self._leave_backward()

    def _enter_backward(self, index: int) -> None:
        if self._buffer is None:  # the last layer's; the others were gathered ahead
            self._buffer = self._gather(self._shares.layers[index])
        self._weights, self._layer = self._gather(self._shares.layers[index]), index
        self._drop_buffer()
        if index:
            self._buffer = self._gather(self._shares.layers[index - 1])

    def _leave_backward(self) -> None:
        if self._layer is None:
            return
        unit = self._shares.layers[self._layer]
        self._leave()
        self._gradients.reduce(self, unit)

    def end_forward(self) -> None:
        """The pass is over but for what backward needs."""
        self._leave()
        self._drop_buffer()

    def end_backward(self) -> None:
        """Everything is summed and let go."""
        self._leave_backward()
        self._drop_buffer()
        self.let_rest_go()
        self._gradients.reduce(self, self._shares.rest)
        self._gradients.let_go(self)

    def let_rest_go(self) -> None:
        if self._rest is not None:
            self.free(self._rest)
            self._rest = None


def sharded_memory(shape: Shape, training: Training) -> TrainingMemory:
    """The peak of a training step on one of the devices, itemised. Raises UserError for what cannot be sharded."""
    shares = _shares(shape, training)
    gradients = _Gradients()
    allocator = CudaAllocator() if training.device == "cuda" else None
    tape = _SharedTape(shares, dtype_bytes=training.dtype_bytes, gradients=gradients, allocator=allocator)
    for size, kind in _standing(training, shares):
        tape.store(size, kind)
    one, stands = _pass(shape, training), tape.live
    weights = one.weights()
    for _ in range(min(2, training.micro_batches)):
        done = one.forward(tape, weights)
        tape.end_forward()
        one.backward(tape, done)
        tape.end_backward()
        assert tape.live == stands + gradients.total_bytes, "nothing but gradients is left over"
    tape.at(STEP)
    del tape.peaks["start"]
    moments = tuple(tape.peaks.values())
    return TrainingMemory(
        training=training,
        peak=max(moments, key=lambda p: p.total_bytes),
        moments=moments,
        trained_parameters=trained_parameters(shape, method=training.method),
        reserved_bytes=None if allocator is None else allocator.reserved_bytes,
    )


def sharded_evaluation(shape: Shape, training: Training) -> Peak:
    """The peak of a loss without gradients between two steps, on one of the devices."""
    shares = _shares(shape, training)
    tape = _SharedTape(shares, dtype_bytes=training.dtype_bytes, gradients=_Gradients())
    for size, kind in _standing(training, shares):
        tape.store(size, kind)
    tape.keeps_gradients = False
    one = replace(_pass(shape, training), checkpointing=False)
    one.forward(tape, one.weights())
    found = max(tape.peaks.values(), key=lambda p: p.total_bytes)
    return Peak("evaluation", found.total_bytes, found.by_kind)


def _shares(shape: Shape, training: Training) -> Shares:
    if isinstance(training.method, Beside):
        raise UserError(
            "adapters are not sharded over devices", fix="Leave out sharding: every device holds the base."
        )
    if training.optimizer not in _STATE_BYTES:
        raise UserError(
            f"optimizer {training.optimizer} cannot be sharded over devices",
            expected=" or ".join(_STATE_BYTES),
        )
    return shares_of(shape, training.method, devices=training.devices)


def _standing(training: Training, shares: Shares) -> list[tuple[int, Kind]]:
    """What a device holds from before the step until after it: float32 rows where they are trained."""
    found = [
        (training.dtype_bytes * shares.frozen, Kind.weights),
        (4 * shares.trained, Kind.masters),
        (4 * shares.masked, Kind.masters),
        (_STATE_BYTES[training.optimizer] * shares.trained, Kind.states),
    ]
    if training.device == "cuda":
        found.append((WORKSPACE_BYTES[training.hopper], Kind.workspace))
    return [(size, kind) for size, kind in found if size]


def _pass(shape: Shape, training: Training) -> Pass:
    """Gradients reach their sums whole, the embedding's and the head's, too."""
    return Pass(
        shape=shape,
        row=training.row_of(shape),
        trained=trained_of(shape, training.method),
        paths=replace(training.fast, sums_gradients=False, widens_parts=False),
        dtype_bytes=training.dtype_bytes,
        checkpointing=training.checkpointing,
    )
