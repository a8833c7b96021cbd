"""Count the bytes of sampling and of evaluation at their peaks, itemised, from the shape alone."""

from __future__ import annotations

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Trained, trained_of
from finetrial.footprint.anatomy import FastPaths, anatomy_of
from finetrial.footprint.resident_bytes import weight_bytes
from finetrial.footprint.structure import Shape
from finetrial.footprint.tape import Tape
from finetrial.footprint.tape_attention import Row
from finetrial.footprint.tape_pass import Pass
from finetrial.footprint.tape_values import Kind, Peak, Storage, Weight
from finetrial.footprint.training_memory import TrainingMemory

# Tokens of prompts that are read at once (sampling/engine.py). Assumption
ROW_TOKENS = {"cpu": 2048, "cuda": 32768}
SHORTLIST = 256  # sampling/nucleus.py: tokens of each sequence that top-p looks at first


class _NoGradients:
    def take(self, tape: Tape, weight: Weight, part: Storage) -> None:
        raise AssertionError("nothing is trained here")


def evaluation_memory(shape: Shape, memory: TrainingMemory) -> Peak:
    """The peak of a loss without gradients between two steps: what training holds then, and one forward pass."""
    training, stands = memory.training, resting_bytes(memory)
    tape = Tape(sums=_NoGradients())
    for kind, size in stands.items():
        tape.store(size, kind)
    tape.keeps_gradients = False
    method = training.method
    one = Pass(
        shape=shape,
        row=training.row_of(shape),
        trained=trained_of(shape, method),
        paths=training.fast,
        dtype_bytes=training.dtype_bytes,
        quantized=training.quantize is not None,
    )
    one.forward(tape, one.weights())
    return _highest(tape, "evaluation")


def resting_bytes(memory: TrainingMemory) -> dict[Kind, int]:
    """What training holds between two steps: no activations, and on CUDA no gradients."""
    training, last = memory.training, memory.moments[-1]  # the optimizer's step
    stands: dict[Kind, int] = {
        kind: size for kind, size in last.by_kind.items() if size and kind is not Kind.temporaries
    }
    kept = training.device == "cpu" and training.dtype_bytes < 4
    if not kept:
        stands.pop(Kind.gradients, None)
    return stands


def shared_cache_bytes(
    shape: Shape, *, slots: int, samples: int, prompt_places: int, own_places: int, dtype_bytes: int
) -> int:
    """Keys and values of `slots` prompts and of the `samples` of each, as the sampler lays its caches out.

    A prompt stands once for its samples, at the longest prompt's length, and every sample at the limit's; a window
    spares nothing (models/kernels/shared_attention.py, CacheStore).
    """
    each = 2 * shape.kv_heads * shape.head_size * dtype_bytes
    return shape.depth * slots * each * (prompt_places + samples * own_places)


def cache_bytes(shape: Shape, *, tokens: int, dtype_bytes: int) -> int:
    """Keys and values of one sequence; a layer with a sliding window keeps no more than the window."""
    per_token = 2 * shape.kv_heads * shape.head_size * dtype_bytes
    return per_token * sum(min(tokens, layer.window or tokens) for layer in shape.layers)


def sampling_memory(
    shape: Shape,
    *,
    prompt_tokens: int,
    new_tokens: int,
    sequences: int,
    per_prompt: int = 1,
    dtype_bytes: int = 2,
    device: str = "cuda",
) -> Peak:
    """The peak of sampling `sequences` at once, adapters merged.

    The caches of all sequences stand from the first prompts on; where the sampler cannot share them, every sequence
    has its own, and in the layer that grows the old and the new ones. A decoding step holds the scores of all
    sequences, their logits at float32, and the tempered ones beside them; reading prompts, a row's activations.
    """
    if min(prompt_tokens, new_tokens, sequences, per_prompt) < 1:
        raise UserError("sampling needs at least one prompt token, new token and sequence")
    total = prompt_tokens + new_tokens
    prompts = max(1, sequences // per_prompt)
    weights = weight_bytes(shape, dtype_bytes=dtype_bytes)
    if anatomy_of(shape).packs:
        cache = shared_cache_bytes(
            shape,
            slots=prompts,
            samples=per_prompt,
            prompt_places=prompt_tokens,
            own_places=new_tokens,
            dtype_bytes=dtype_bytes,
        )
        standing = cache
        # side by side: the two parts, both together, with the mask, and their softmax; a card's kernel keeps none
        scores = sequences * shape.heads * total * dtype_bytes
        decoding_temporaries = 4 * scores if device == "cpu" else 0
        read_at_once = min(prompts, max(1, ROW_TOKENS[device] // prompt_tokens))
    else:
        cache = sequences * cache_bytes(shape, tokens=total, dtype_bytes=dtype_bytes)
        standing = sequences * cache_bytes(shape, tokens=prompt_tokens, dtype_bytes=dtype_bytes)
        decoding_temporaries = cache // shape.depth
        read_at_once = prompts
    decoding = {
        Kind.weights: weights,
        Kind.cache: cache,
        Kind.temporaries: decoding_temporaries,
        Kind.loss: sequences * (shape.vocabulary * (dtype_bytes + 8) + SHORTLIST * 16),
    }
    tape = Tape(sums=_NoGradients())
    tape.store(weights, Kind.weights)
    tape.store(standing, Kind.cache)
    tape.keeps_gradients = False
    reading = Pass(
        shape=shape,
        row=Row(lengths=(prompt_tokens,) * read_at_once, loss_tokens=read_at_once),
        trained=Trained(Full(), ()),
        paths=FastPaths(grouped=True, flash=True),
        dtype_bytes=dtype_bytes,
    )
    reading.forward(tape, reading.weights())
    peaks = (_highest(tape, "reading prompts"), Peak("decoding", sum(decoding.values()), decoding))
    return max(peaks, key=lambda p: p.total_bytes)


def _highest(tape: Tape, moment: str) -> Peak:
    found = max(tape.peaks.values(), key=lambda p: p.total_bytes)
    return Peak(moment, found.total_bytes, found.by_kind)
