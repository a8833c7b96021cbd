"""Count the bytes of a training step at its peak, itemised, from the shape alone.

What stands through the whole step (weights, masters, optimizer states, on a CPU the gradients' float32 sums) is
counted from the parameters; what comes and goes is followed on a tape. The peak is the largest of the step's
moments, not the sum of the largest parts: end of forward, at the loss; each layer's backward; the optimizer's step.
It is the second step's, because AdamW's moments come with the first, and its second micro-batch's where a step has
several, because gradients then stand from the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

from finetrial.errors import UserError, unknown_name
from finetrial.footprint.adapters import Full, Method, trained_of, trained_parameters
from finetrial.footprint.anatomy import FastPaths, anatomy_of, fast_paths
from finetrial.footprint.beside import Beside
from finetrial.footprint.cuda_allocator import CudaAllocator
from finetrial.footprint.optimizer_bytes import OPTIMIZERS, state_bytes, step_bytes
from finetrial.footprint.resident_bytes import masked_bytes, trained_matrices, weight_pieces
from finetrial.footprint.stored_bytes import bytes_per_param
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_attention import Row
from finetrial.footprint.tape_pass import Pass
from finetrial.footprint.tape_values import Kind, Peak, Storage, Weight

DEVICES = ("cpu", "cuda")
QUANTIZED = ("nf4",)

# Workspace of cuBLAS, which torch asks for once a handle (CUDABlas.cpp, getChosenWorkspaceSize)
WORKSPACE_BYTES = {False: 8_519_680, True: 32 << 20}  # 8.125 MiB; Hopper 32 MiB

STEP = "optimizer step"
# numbers of gradients that are summed at once over devices that hold everything, and in how many buffers: what is
# sent, what comes, and what it is made from (training/ranks.py)
_SUMMED, _SUM_BUFFERS = 1 << 24, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How a shape is trained. `rows` examples of `length` tokens make a micro-batch, packed end to end."""

    method: Method
    length: int
    rows: int = 1
    loss_share: float = 1.0  # of the tokens, those that carry loss
    dtype: str = "bfloat16"
    optimizer: str = "adamw"
    checkpointing: bool = False
    quantize: str | None = None
    device: str = "cuda"
    hopper: bool = False
    micro_batches: int = 2  # of a step; from the second on gradients are there already
    devices: int = 1  # that train together, each on micro-batches of its own
    sharded: bool = False  # each holds a share of what is trained; else each holds everything
    paths: FastPaths | None = None  # None: what the engine puts in place on the device

    def __post_init__(self) -> None:
        for what, value in (("length", self.length), ("micro-batch", self.rows), ("devices", self.devices)):
            if value < 1:
                raise UserError(f"invalid {what}", got=value, expected="a whole number above zero")
        if self.device not in DEVICES:
            raise unknown_name("device", self.device, DEVICES)
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        if not 0 < self.loss_share <= 1:
            raise UserError("invalid share of tokens with loss", got=self.loss_share)
        if self.quantize is not None and self.quantize not in QUANTIZED:
            raise unknown_name("quantization", self.quantize, QUANTIZED)
        if self.quantize is not None and not isinstance(self.method, Beside):
            raise UserError("only a frozen base can be quantised", fix="Use --method lora, or no --quantize.")

    @property
    def dtype_bytes(self) -> int:
        size = bytes_per_param(self.dtype)
        if size not in (2, 4):
            raise UserError("training needs a floating-point precision", got=self.dtype, expected="bf16 or fp32")
        return size

    @property
    def row(self) -> Row:
        """The micro-batch."""
        return self._row(self.rows)

    def row_of(self, shape: Shape) -> Row:
        """The examples that stand in memory together: all of a micro-batch, or one where they cannot be packed."""
        return self._row(self.rows if anatomy_of(shape).packs else 1)

    def _row(self, rows: int) -> Row:
        tokens = self.length * rows
        return Row(lengths=(self.length,) * rows, loss_tokens=max(1, round(tokens * self.loss_share)))

    @property
    def fast(self) -> FastPaths:
        return self.paths or fast_paths(device=self.device, dtype_bytes=self.dtype_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingMemory:
    """The peak, its parts, and every moment's own peak in the order of the step."""

    training: Training
    peak: Peak
    moments: tuple[Peak, ...]
    trained_parameters: int
    reserved_bytes: int | None  # what the allocator of a card asks for; None on a CPU

    @property
    def total_bytes(self) -> int:
        return self.peak.total_bytes

    @property
    def parts(self) -> dict[str, int]:
        """The peak's parts in bytes, those that are not zero, by name."""
        return {kind.value: size for kind, size in self.peak.by_kind.items() if size}


class _Gradients:
    """Takes weights' gradients as the engine's optimizer does (training/optimizer.py, kernels/gradients.py)."""

    def __init__(self, *, summed: bool, device: str) -> None:
        self._summed, self._device = summed, device
        self._there: set[int] = set()
        self.total_bytes = 0

    def take(self, tape: Tape, weight: Weight, part: Storage) -> None:
        first = id(weight) not in self._there
        self._there.add(id(weight))
        if not self._summed:  # the gradient is the parameter's own
            if first:
                self.total_bytes += part.size
                part.holds += 1
            tape.free(part)
            return
        wide = weight.entries * 4
        if first and self._device == "cuda":  # on a CPU the sum stands from the first step on
            self.total_bytes += tape.store(wide, Kind.gradients).size
        elif not first and self._device == "cpu":
            tape.pulse(wide)  # a sum of two precisions makes a copy at the wider one
        tape.free(part)


def training_memory(shape: Shape, training: Training) -> TrainingMemory:
    """The peak of a training step in bytes, itemised. Raises UserError for targets that the shape does not have."""
    method, device = training.method, training.device
    narrow = training.dtype_bytes < 4
    gradients = _Gradients(summed=narrow, device=device)
    allocator = CudaAllocator() if device == "cuda" else None
    tape = Tape(sums=gradients, allocator=allocator)
    _lay_out(tape, shape, training)
    one = Pass(
        shape=shape,
        row=training.row_of(shape),
        trained=trained_of(shape, method),
        paths=training.fast,
        dtype_bytes=training.dtype_bytes,
        quantized=training.quantize is not None,
        checkpointing=training.checkpointing,
    )
    weights, stands = one.weights(), tape.live
    for _ in range(min(2, training.micro_batches)):
        one.backward(tape, one.forward(tape, weights))
        assert tape.live == stands + gradients.total_bytes, "nothing but gradients is left over"
    tape.at(STEP)
    matrices = trained_matrices(shape, method)
    tape.pulse(step_bytes(training.optimizer, matrices))
    if training.devices > 1:
        most = max(_SUMMED, *(matrix.entries for matrix in matrices))
        tape.pulse(_SUM_BUFFERS * 4 * min(most, sum(matrix.entries for matrix in matrices)), Kind.summing)
    del tape.peaks["start"]
    for peak in tape.peaks.values():
        assert sum(peak.by_kind.values()) == peak.total_bytes, "the parts add up to the peak"
    moments = tuple(tape.peaks.values())
    return TrainingMemory(
        training=training,
        peak=max(moments, key=lambda p: p.total_bytes),
        moments=moments,
        trained_parameters=trained_parameters(shape, method=method),
        reserved_bytes=None if allocator is None else allocator.reserved_bytes,
    )


def _lay_out(tape: Tape, shape: Shape, training: Training) -> None:
    """Make what stands from before the step until after it."""
    method, dtype, device = training.method, training.dtype_bytes, training.device
    matrices = trained_matrices(shape, method)
    for size in weight_pieces(shape, dtype_bytes=dtype, quantize=training.quantize):
        tape.store(size, Kind.weights)
    tape.store(masked_bytes(shape, method), Kind.masters)
    for matrix in matrices:
        if isinstance(method, Beside):
            tape.store(matrix.entries * dtype, Kind.adapters)
        if dtype < 4:
            tape.store(matrix.entries * 4, Kind.masters)
            if device == "cpu":  # the sums stay there; on CUDA they come and go with every step
                tape.store(matrix.entries * 4, Kind.gradients)
        tape.store(state_bytes(training.optimizer, (matrix,)), Kind.states)
    if device == "cuda":
        tape.store(WORKSPACE_BYTES[training.hopper], Kind.workspace)
        if training.fast.sums_gradients and isinstance(method, Full):
            # the head's and the embedding's sums are filled without a gradient of their own
            for _ in range(1 if shape.tied_head else 2):
                tape.store(4 * shape.vocabulary * shape.width, Kind.gradients)
