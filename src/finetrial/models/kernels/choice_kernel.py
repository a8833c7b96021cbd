"""The choice of the next token as one Triton kernel, for a card: `nucleus.choose` without sorting the vocabulary.

Tokens are ordered by the bits of their logits; where the order is cut is sought by trying, three cuts a pass over
the row. It is tried against a sort before it is used (sampling/decode_paths.py). This module is imported only where
Triton is.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from finetrial.models.kernels.attend_kernel import power_of_two


@triton.jit
def _key(x, SHIFT: tl.constexpr):
    """Integers in the order of the numbers; of half precisions the bits that they do not have are left out."""
    bits = x.to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)) >> SHIFT


@triton.jit
def _value(key, SHIFT: tl.constexpr):
    """The number that has this key."""
    bits = key << SHIFT
    bits = tl.where(key < 0, (bits + ((1 << SHIFT) - 1)) ^ 0x7FFFFFFF, bits)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def _within(row, PLACES, best, temperature, first, second, third, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    """The weight and the number of tokens whose key is at least each of three."""
    offs = tl.arange(0, BLOCK)
    w1 = tl.zeros([BLOCK], tl.float32)
    w2 = tl.zeros([BLOCK], tl.float32)
    w3 = tl.zeros([BLOCK], tl.float32)
    n1 = tl.zeros([BLOCK], tl.int32)
    n2 = tl.zeros([BLOCK], tl.int32)
    n3 = tl.zeros([BLOCK], tl.int32)
    for start in range(0, PLACES, BLOCK):
        x = tl.load(row + start + offs).to(tl.float32)
        key = _key(x, SHIFT)
        weight = tl.exp((x - best) / temperature)
        w1 += tl.where(key >= first, weight, 0.0)
        w2 += tl.where(key >= second, weight, 0.0)
        w3 += tl.where(key >= third, weight, 0.0)
        n1 += (key >= first).to(tl.int32)
        n2 += (key >= second).to(tl.int32)
        n3 += (key >= third).to(tl.int32)
    return tl.sum(w1, 0), tl.sum(w2, 0), tl.sum(w3, 0), tl.sum(n1, 0), tl.sum(n2, 0), tl.sum(n3, 0)


@triton.jit
def _largest(
    row, PLACES, best, temperature, low, high, target, BY: tl.constexpr, SHIFT: tl.constexpr, BLOCK: tl.constexpr
):
    """The largest key, from `low` to below `high`, such that those of at least it are enough: a number of them
    (BY 0), a weight (1), or more than a weight (2). Each pass tries three."""
    while high - low > 1:
        step = tl.maximum((high - low) // 4, 1)
        first = low + step
        second = tl.minimum(first + step, high)
        third = tl.minimum(second + step, high)
        w1, w2, w3, n1, n2, n3 = _within(
            row,
            PLACES,
            best,
            temperature,
            first.to(tl.int32),
            second.to(tl.int32),
            third.to(tl.int32),
            SHIFT,
            BLOCK,
        )
        if BY == 0:
            e1 = n1 >= target
            e2 = n2 >= target
            e3 = n3 >= target
        elif BY == 1:
            e1 = w1 >= target
            e2 = w2 >= target
            e3 = w3 >= target
        else:
            e1 = w1 > target
            e2 = w2 > target
            e3 = w3 > target
        e2 = e2 & (second < high)
        e3 = e3 & (third < high)
        low = tl.where(e3, third, tl.where(e2, second, tl.where(e1, first, low)))
        high = tl.where(e1, tl.where(e2, tl.where(e3, high, third), second), first)
    return low


@triton.jit
def _choose(
    logits,
    uniform,
    copy,
    token_out,
    logprob_out,
    stride,
    V,
    PLACES,
    temperature,
    top_p,
    top_k,
    min_p,
    SHIFT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row. Where the order of the tokens is cut is sought by their keys, so that nothing is sorted."""
    number = tl.program_id(0).to(tl.int64)
    offs = tl.arange(0, BLOCK)
    row = copy + number * PLACES  # rows of many vocabularies do not begin where wide loads can
    best_b = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, PLACES, BLOCK):
        x = tl.load(logits + number * stride + start + offs, mask=start + offs < V, other=-float("inf"))
        tl.store(row + start + offs, x)
        best_b = tl.maximum(best_b, x.to(tl.float32))
    best = tl.max(best_b, 0)
    tl.debug_barrier()
    whole_b = tl.zeros([BLOCK], tl.float32)  # at temperature 1
    for start in range(0, PLACES, BLOCK):
        whole_b += tl.exp(tl.load(row + start + offs).to(tl.float32) - best)
    normaliser = best + tl.log(tl.sum(whole_b, 0))

    # exp(-104) is 0 at float32: farther tokens weigh nothing
    cut = _key(best - 104.0 * temperature, SHIFT).to(tl.int64)
    end = _key(best, SHIFT).to(tl.int64) + 1
    total, above, _w, _n, n_above, _m = _within(row, PLACES, best, temperature, cut, end, end, SHIFT, BLOCK)
    if top_k < V:
        cut = _largest(row, PLACES, best, temperature, cut, end, top_k, 0, SHIFT, BLOCK)
        within, above, _w, _n, n_above, _m = _within(
            row, PLACES, best, temperature, cut, cut + 1, cut + 1, SHIFT, BLOCK
        )
        tie = tl.exp((_value(cut.to(tl.int32), SHIFT) - best) / temperature)
        total = tl.minimum(within, above + (top_k - n_above).to(tl.float32) * tie)

    # the nucleus, and as many of its least probable tokens, which may be alike, as it takes
    target = top_p * total
    cut = _largest(row, PLACES, best, temperature, cut, end, target, 1, SHIFT, BLOCK)
    within, above, _w, n_within, n_above, _m = _within(
        row, PLACES, best, temperature, cut, cut + 1, cut + 1, SHIFT, BLOCK
    )
    tie = tl.exp((_value(cut.to(tl.int32), SHIFT) - best) / temperature)
    ties = tl.maximum(tl.ceil((target - above) / tie), 1.0)
    kept = above + tl.minimum(ties, (n_within - n_above).to(tl.float32)) * tie
    if (min_p > 0) & (tie < min_p):  # it ends earlier
        least = best + temperature * tl.log(min_p)
        floor = _key(least, SHIFT)
        if least >= 0:
            floor = _key(
                (least.to(tl.int32, bitcast=True) + ((1 << SHIFT) - 1)).to(tl.float32, bitcast=True), SHIFT
            )
        cut = tl.maximum(cut, floor.to(tl.int64))
        kept, above, _w, _n, n_above, _m = _within(
            row, PLACES, best, temperature, cut, cut + 1, cut + 1, SHIFT, BLOCK
        )

    # the token whose share covers u
    wanted = tl.load(uniform + number) * kept
    cut = _largest(row, PLACES, best, temperature, cut, end, wanted, 2, SHIFT, BLOCK)
    within, above, _w, n_within, n_above, _m = _within(
        row, PLACES, best, temperature, cut, cut + 1, cut + 1, SHIFT, BLOCK
    )
    tie = tl.exp((_value(cut.to(tl.int32), SHIFT) - best) / temperature)
    which = tl.maximum((wanted - above) / tie, 0.0).to(tl.int32)
    which = tl.minimum(which, tl.maximum(n_within - n_above, 1) - 1)
    chosen_key = cut.to(tl.int32)
    seen = 0
    token = 0
    for start in range(0, PLACES, BLOCK):
        same = (_key(tl.load(row + start + offs).to(tl.float32), SHIFT) == chosen_key).to(tl.int32)
        place = seen + tl.cumsum(same, 0) - 1
        token = tl.maximum(token, tl.max(tl.where((same > 0) & (place == which), start + offs, 0), 0))
        seen += tl.sum(same, 0)
    chosen = tl.load(row + token).to(tl.float32)
    tl.store(token_out + number, token.to(tl.int64))
    tl.store(logprob_out + number, chosen - normaliser)


# bits of float32 that a precision does not have
_SHIFTS = {torch.float32: 0, torch.bfloat16: 16, torch.float16: 13}


def choose_tokens(
    logits_BV: torch.Tensor,
    *,
    uniform_B: torch.Tensor,
    temperature: float,
    top_p: float,
    top_k: int | None,
    min_p: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The chosen tokens and their log-probabilities, as `nucleus.choose` chooses them: temperature above zero."""
    rows, vocabulary = logits_BV.shape
    assert logits_BV.stride(1) == 1 and temperature > 0
    token_B = torch.empty(rows, dtype=torch.long, device=logits_BV.device)
    logprob_B = torch.empty(rows, dtype=torch.float32, device=logits_BV.device)
    block = min(8192, power_of_two(vocabulary))
    places = -(-vocabulary // block) * block
    _choose[(rows,)](
        logits_BV,
        uniform_B.contiguous(),
        torch.empty(rows, places, dtype=logits_BV.dtype, device=logits_BV.device),
        token_B,
        logprob_B,
        logits_BV.stride(0),
        vocabulary,
        places,
        float(temperature),
        float(top_p),
        vocabulary if top_k is None else min(top_k, vocabulary),
        float(min_p),
        SHIFT=_SHIFTS[logits_BV.dtype],
        BLOCK=block,
        num_warps=8,
    )
    return token_B, logprob_B
