"""Say what a device must hold for training, evaluation and sampling, and what would make a misfit fit.

The need is the largest of the three. On CUDA it is what the caching allocator reserves, with the context that every
process on a card has; on a CPU it is the process: tensors, the libraries, and what the heap does not give back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from finetrial.footprint.beside import Beside, Lora
from finetrial.footprint.inference_memory import evaluation_memory, resting_bytes, sampling_memory
from finetrial.footprint.sharded_memory import can_shard, sharded_evaluation, sharded_memory
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape_values import Kind, Peak
from finetrial.footprint.targets import ALL_LINEAR
from finetrial.footprint.training_memory import Training, TrainingMemory, training_memory

MIB = 1 << 20
# CUDA's context with the kernels that are loaded into it. Assumption: 300 to 600 MiB are seen.
CUDA_CONTEXT_BYTES = 512 * MIB
# A process on a CPU beside its tensors: the libraries, and what the heap holds beyond them as a share of the
# tensors that come and go within a step; freed memory stays there, in pieces that do not always fit what comes
# next. Where examples have many lengths there are more such pieces, and kernels of as many shapes as are kept. Wide
# vocabularies take more than their tensors: the matrix library may lay the head's matrix out anew for its products,
# in memory of its own (inferred from the fit, not seen in the library).
# Fitted by `python -m benchmarks.footprint --fit` (docs/results/footprint.md).
CPU_PROCESS_BYTES, CPU_HEAP_SHARE, CPU_VARIED_BYTES, CPU_HEAD_SHARE = 517 * MIB, 0.187, 108 * MIB, 0.675
REMEDY_RANK = 16  # of the LoRA that is proposed
MORE_DEVICES = (2, 4, 8, 16, 32, 64)  # cards that are proposed where one is too small


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How many sequences are sampled at once, and how long they are."""

    prompt_tokens: int
    new_tokens: int
    sequences: int = 1
    per_prompt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """The peaks of training, evaluation and sampling, and what the device must have for the largest."""

    training: TrainingMemory
    evaluation: Peak
    sampling: Peak
    needed_bytes: int
    training_needed_bytes: int  # for training and its evaluations alone

    @property
    def overhead_bytes(self) -> int:
        """Beside the largest peak's tensors: rounding and segments, context or process."""
        return self.needed_bytes - self.largest.total_bytes

    @property
    def largest(self) -> Peak:
        return max((self.training.peak, self.evaluation, self.sampling), key=lambda p: p.total_bytes)


def head_bytes(shape: Shape, *, dtype_bytes: int) -> int:
    """Of the matrix that makes logits, which may be the embedding's."""
    return shape.vocabulary * shape.width * dtype_bytes


def cpu_process_bytes(shape: Shape, tensor_bytes: int, *, stands_bytes: int, varied: bool, dtype_bytes: int) -> int:
    """A process on a CPU at the peak of its tensors, of which some stand throughout.

    `varied`: examples of many lengths, as a trial has them.
    """
    heap = round(CPU_HEAP_SHARE * max(0, tensor_bytes - stands_bytes))
    head = round(CPU_HEAD_SHARE * head_bytes(shape, dtype_bytes=dtype_bytes))
    return CPU_PROCESS_BYTES + tensor_bytes + heap + head + (CPU_VARIED_BYTES if varied else 0)


def memory_plan(
    shape: Shape, training: Training, *, sampling: Sampling | None = None, varied: bool = False
) -> MemoryPlan:
    """Everything that must fit. Without `sampling` one sequence of the training's length is sampled at a time."""
    if training.sharded:
        memory, evaluation = sharded_memory(shape, training), sharded_evaluation(shape, training)
    else:
        memory = training_memory(shape, training)
        evaluation = evaluation_memory(shape, memory)
    sampling = sampling or Sampling(prompt_tokens=training.length, new_tokens=1)
    sampled = sampling_memory(
        shape,
        prompt_tokens=sampling.prompt_tokens,
        new_tokens=sampling.new_tokens,
        sequences=sampling.sequences,
        per_prompt=sampling.per_prompt,
        dtype_bytes=training.dtype_bytes,
        device=training.device,
    )
    tuned = max(memory.total_bytes, evaluation.total_bytes)
    if memory.reserved_bytes is not None:
        # what segments hold beyond the tensors is replayed for training and taken for the others
        overhead = memory.reserved_bytes - memory.total_bytes + CUDA_CONTEXT_BYTES
        alone, sampling_needs = tuned + overhead, sampled.total_bytes + overhead
    else:
        stands, weights = sum(resting_bytes(memory).values()), sampled.by_kind[Kind.weights]
        process = partial(cpu_process_bytes, shape, varied=varied, dtype_bytes=training.dtype_bytes)
        alone = process(tuned, stands_bytes=stands)
        sampling_needs = process(sampled.total_bytes, stands_bytes=weights)
    return MemoryPlan(
        training=memory,
        evaluation=evaluation,
        sampling=sampled,
        needed_bytes=max(alone, sampling_needs),
        training_needed_bytes=alone,
    )


def sequences_that_fit(shape: Shape, training: Training, *, sampling: Sampling, memory_bytes: int) -> int:
    """How many sequences can be sampled at once in that memory; 0 where not even one."""

    def fits(count: int) -> bool:
        peak = sampling_memory(
            shape,
            prompt_tokens=sampling.prompt_tokens,
            new_tokens=sampling.new_tokens,
            sequences=count,
            per_prompt=min(count, sampling.per_prompt),
            dtype_bytes=training.dtype_bytes,
            device=training.device,
        )
        if training.device == "cuda":
            return peak.total_bytes + CUDA_CONTEXT_BYTES <= memory_bytes
        weights = peak.by_kind[Kind.weights]
        needed = cpu_process_bytes(
            shape, peak.total_bytes, stands_bytes=weights, varied=False, dtype_bytes=training.dtype_bytes
        )
        return needed <= memory_bytes

    if not fits(1):
        return 0
    low, high = 1, 2
    while high <= 4096 and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One change, or several together, and what training needs with it."""

    change: str
    training: Training
    needed_bytes: int
    saved_bytes: int
    fits: bool


Change = tuple[str, Callable[[Training], Training]]


def _changes(training: Training) -> Iterator[Change]:
    """The changes that are open to this training, the least intrusive first."""
    if not training.checkpointing:
        yield "--checkpointing", lambda t: replace(t, checkpointing=True)
    rows = training.rows
    while rows > 1:
        rows //= 2
        yield f"--micro-batch {rows}", partial(_with_rows, rows=rows)
    adapters = isinstance(training.method, Beside)
    lora = Lora(rank=REMEDY_RANK, targets=(ALL_LINEAR,))
    if not adapters:
        yield f"--method lora --rank {REMEDY_RANK} --targets {ALL_LINEAR}", lambda t: replace(t, method=lora)
    if training.device == "cuda" and training.quantize is None:
        if adapters:
            yield "--quantize nf4", lambda t: replace(t, quantize="nf4")
        else:
            words = f"--method lora --rank {REMEDY_RANK} --targets {ALL_LINEAR} --quantize nf4"
            yield words, lambda t: replace(t, method=lora, quantize="nf4")
    if training.device == "cuda" and training.optimizer == "adamw":
        yield "--optimizer adamw8bit", lambda t: replace(t, optimizer="adamw8bit")


def _more_devices(training: Training) -> Iterator[Change]:
    """More cards that share out what is trained, the fewest first."""
    if training.device != "cuda" or not can_shard(training.method, optimizer=training.optimizer):
        return
    for count in MORE_DEVICES:
        if count > training.devices:
            yield f"--devices {count}", partial(_shared_out, devices=count)


def _shared_out(training: Training, *, devices: int) -> Training:
    return replace(training, devices=devices, sharded=True)


def _with_rows(training: Training, *, rows: int) -> Training:
    return replace(training, rows=min(training.rows, rows))


def _changed(training: Training, changes: Sequence[Change]) -> Training:
    for _, change in changes:
        training = change(training)
    return training


def remedies(shape: Shape, training: Training, *, memory_bytes: int, needed_bytes: int) -> tuple[Remedy, ...]:
    """What each change alone gives, and where none suffices, the fewest of them that do together.

    Order: recomputation, a smaller micro-batch, LoRA, LoRA on a quantised base, 8-bit moments. A change that saves
    nothing is left out.
    """

    def remedy(changes: Sequence[Change]) -> Remedy:
        changed = _changed(training, changes)
        needed = memory_plan(shape, changed).needed_bytes
        return Remedy(
            change=" ".join(words for words, _ in changes),
            training=changed,
            needed_bytes=needed,
            saved_bytes=needed_bytes - needed,
            fits=needed <= memory_bytes,
        )

    open_changes = list(_changes(training))
    alone = [(change, found) for change in open_changes if (found := remedy([change])).saved_bytes > 0]
    rows = tuple(found for _, found in alone)
    more = tuple(islice((found for change in _more_devices(training) if (found := remedy([change])).fits), 1))
    if any(row.fits for row in rows) or len(alone) < 2:
        return (*rows, *more)
    together = [change for change, _ in alone]
    if not remedy(together).fits:
        return (*rows, *more)
    for change in reversed(list(together)):  # the most intrusive first
        fewer = [other for other in together if other is not change]
        if fewer and remedy(fewer).fits:
            together = fewer
    return (*rows, remedy(together), *more)
