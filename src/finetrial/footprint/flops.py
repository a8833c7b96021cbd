"""Count the floating-point operations of a step, by layer and part.

The convention: a multiplication with its addition is 2 FLOPs, and only matrix products are counted: not norms,
activations, softmax, biases, look-ups or the optimizer. What is counted is what the mathematics needs, given what
is trained; a kernel that computes more (a dense mask, a recomputed softmax, a gradient nobody reads) does extra
work.

For one token and one matrix of n weights: 2n forward, and backward 2n for the gradient of its input, where anything
before it is trained, and 2n for the gradient of the weights, where they are. Hence 6N for full tuning (Kaplan et
al. 2020, section 2.1), and 4N + 6N_lora for adapters on frozen weights, nothing below the lowest adapted layer.

Attention scores: for every pair of a query and a key it may see, 2 x heads x head size for Q K^T and the same for
P V; backward one such product for each of dV, dP, dQ and dK. A causal block of n tokens has n (n + 1) / 2 pairs
(the usual "half" of n^2), fewer under a sliding window. Blocks packed into one sequence do not see each other.
The head runs on the tokens that carry loss, and there alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full, Method, trained_of
from finetrial.footprint.beside import Beside
from finetrial.footprint.matrix_products import PartFlops, Walk
from finetrial.footprint.structure import Shape


@dataclass(frozen=True)
class StepFlops:
    """The FLOPs of one pass over some blocks of tokens, forward alone or forward and backward."""

    tokens: int
    parts: tuple[PartFlops, ...]

    @property
    def forward(self) -> int:
        return sum(part.forward for part in self.parts)

    @property
    def recompute(self) -> int:
        return sum(part.recompute for part in self.parts)

    @property
    def backward(self) -> int:
        return sum(part.input_gradient + part.weight_gradient for part in self.parts)

    @property
    def total(self) -> int:
        return sum(part.total for part in self.parts)

    @property
    def flops_per_token(self) -> float:
        return self.total / self.tokens

    def by_part(self) -> dict[str, int]:
        """Totals over the layers: `q`, `scores`, ..., `head`; an adapter's as `q adapter`."""
        totals: dict[str, int] = {}
        for part in self.parts:
            name = f"{part.part} adapter" if part.adapter else part.part
            totals[name] = totals.get(name, 0) + part.total
        return totals

    def by_layer(self) -> tuple[int, ...]:
        """Totals of the layers from the lowest up; the head is in none of them."""
        totals: dict[int, int] = {}
        for part in self.parts:
            if part.layer is not None:
                totals[part.layer] = totals.get(part.layer, 0) + part.total
        return tuple(totals[layer] for layer in sorted(totals))


def step_flops(
    shape: Shape,
    *,
    method: Method,
    lengths: Sequence[int],
    loss_tokens: int,
    checkpointing: bool = False,
    causal: bool = True,
) -> StepFlops:
    """FLOPs of forward and backward over blocks of `lengths` tokens, `loss_tokens` of them with loss.

    `lengths` are the blocks that attend within themselves: the sequences of a batch, or the documents packed into
    one. Padding that is computed belongs in the lengths. With `checkpointing` every layer that the backward pass
    reaches runs forward once more. `causal=False` counts all pairs of a block, as a dense mask computes them.
    """
    return _count(
        shape,
        method=method,
        tokens=_token_sum(lengths),
        pairs=_Pairs(lengths=tuple(lengths), causal=causal),
        head_tokens=_head_tokens(loss_tokens, lengths),
        backward=True,
        checkpointing=checkpointing,
    )


def forward_flops(
    shape: Shape, *, lengths: Sequence[int], head_tokens: int, adapter: Beside | None = None, causal: bool = True
) -> StepFlops:
    """FLOPs of a forward pass alone, the head on `head_tokens`; `adapter` is one not merged into the weights."""
    return _count(
        shape,
        method=adapter or Full(),
        tokens=_token_sum(lengths),
        pairs=_Pairs(lengths=tuple(lengths), causal=causal),
        head_tokens=_head_tokens(head_tokens, lengths),
        backward=False,
        checkpointing=False,
    )


def sampling_flops(
    shape: Shape, *, prompt_tokens: int, sample_tokens: Sequence[int], adapter: Beside | None = None
) -> StepFlops:
    """FLOPs of sampling answers of `sample_tokens` tokens each to one prompt, keys and values cached.

    The prompt is read once for all samples, its head on the last token alone. An answer's first token comes from
    the prompt, and its last is never read again: n tokens take n - 1 decoding steps.
    """
    if prompt_tokens < 1 or not sample_tokens or min(sample_tokens) < 1:
        raise UserError(
            "a prompt and every answer need at least one token", got=f"{prompt_tokens}, {sample_tokens}"
        )
    steps = sum(sample_tokens) - len(sample_tokens)
    starts = tuple((prompt_tokens, prompt_tokens + answer - 1) for answer in sample_tokens)
    return _count(
        shape,
        method=adapter or Full(),
        tokens=prompt_tokens + steps,
        pairs=_Pairs(lengths=(prompt_tokens,), causal=True, continued=starts),
        head_tokens=1 + steps,
        backward=False,
        checkpointing=False,
    )


@dataclass(frozen=True)
class _Pairs:
    """How many pairs of a query and a key are scored, under each layer's window."""

    lengths: tuple[int, ...]
    causal: bool
    continued: tuple[tuple[int, int], ...] = ()  # (from, to): tokens read one at a time behind a cache

    def within(self, window: int | None) -> int:
        blocks = sum(_triangle(n, window) if self.causal else n * n for n in self.lengths)
        return blocks + sum(_triangle(end, window) - _triangle(start, window) for start, end in self.continued)


def _triangle(tokens: int, window: int | None) -> int:
    """Causal pairs of one block: the i-th token sees i, or the window if that is less."""
    if window is None or tokens <= window:
        return tokens * (tokens + 1) // 2
    return window * (window + 1) // 2 + (tokens - window) * window


def _token_sum(lengths: Sequence[int]) -> int:
    if not lengths or min(lengths) < 1:
        raise UserError("a step needs blocks of at least one token", got=list(lengths))
    return sum(lengths)


def _head_tokens(count: int, lengths: Sequence[int]) -> int:
    if not 0 <= count <= sum(lengths):
        raise UserError("invalid number of head tokens", got=count, expected=f"from 0 to {sum(lengths)}")
    return count


def _count(
    shape: Shape,
    *,
    method: Method,
    tokens: int,
    pairs: _Pairs,
    head_tokens: int,
    backward: bool,
    checkpointing: bool,
) -> StepFlops:
    walk = Walk(trained=trained_of(shape, method), tokens=tokens, backward=backward, checkpointing=checkpointing)
    # Whether the gradient is wanted of what enters a layer: with full tuning the embedding wants it from the start.
    wanted = isinstance(method, Full)
    pairs_by_window = {window: pairs.within(window) for window in {layer.window for layer in shape.layers}}
    for index, layer in enumerate(shape.layers):
        wanted = walk.layer(shape, layer, index=index, pairs=pairs_by_window[layer.window], wanted=wanted)
    walk.linear(shape.head, layer=None, tokens=head_tokens, input_wanted=wanted, checkpointed=False)
    return StepFlops(tokens=tokens, parts=tuple(walk.parts))
