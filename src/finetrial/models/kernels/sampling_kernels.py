"""Two Triton kernels for sampling on a card: attention of a decoding step, and the choice of the next token.

In torch's own operations a layer's attention is ten launches, and a nucleus is a sort of the whole vocabulary. Both
equal plain computations, `shared_attention.plain_shared_attention` and `nucleus.choose`, and are tried against them
before they are used (decode_paths.py). This module is imported only where Triton is.

Shapes: S slots, k samples each, N = S k rows, K key-value heads, G query heads of each, H = K G, D head size;
P places of a prompt, O of a sample; V vocabulary.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_NO_WINDOW = 1 << 30


@triton.jit
def _attend(
    q,
    k_new,
    v_new,
    prompt_k,
    prompt_v,
    own_k,
    own_v,
    out,
    prompt_N,
    place_N,
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    scaling,
    window,
    P,
    OWN,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SAMPLES: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_J: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_E: tl.constexpr,
):
    """One slot and one key head: its samples' queries are the rows of one matrix."""
    slot = tl.program_id(0)
    head = tl.program_id(1)
    block = (slot * HEADS + head).to(tl.int64)
    offs_d = tl.arange(0, BLOCK_D)
    offs_e = tl.arange(0, BLOCK_E)
    in_d = offs_d < D
    in_e = offs_e < E
    # the new tokens' keys and values go to their places; all of this program's threads see them afterwards
    offs_j = tl.arange(0, BLOCK_J)
    in_j = offs_j < SAMPLES
    row_j = slot * SAMPLES + offs_j
    place_j = tl.minimum(tl.load(place_N + row_j, mask=in_j, other=0), OWN - 1)
    new_k = tl.load(
        k_new + row_j[:, None] * k_row + head * k_head + offs_d[None, :],
        mask=in_j[:, None] & in_d[None, :],
        other=0.0,
    )
    new_v = tl.load(
        v_new + row_j[:, None] * v_row + head * v_head + offs_e[None, :],
        mask=in_j[:, None] & in_e[None, :],
        other=0.0,
    )
    own_row = (block * SAMPLES + offs_j) * OWN + place_j
    tl.store(own_k + own_row[:, None] * D + offs_d[None, :], new_k, mask=in_j[:, None] & in_d[None, :])
    tl.store(own_v + own_row[:, None] * E + offs_e[None, :], new_v, mask=in_j[:, None] & in_e[None, :])
    tl.debug_barrier()

    offs_m = tl.arange(0, BLOCK_M)
    sample_m = offs_m // GROUP
    in_m = offs_m < SAMPLES * GROUP
    row_m = slot * SAMPLES + sample_m
    q_m = tl.load(
        q + row_m[:, None] * q_row + (head * GROUP + offs_m % GROUP)[:, None] * q_head + offs_d[None, :],
        mask=in_m[:, None] & in_d[None, :],
        other=0.0,
    )
    prompt = tl.load(prompt_N + slot * SAMPLES)
    place_m = tl.load(place_N + row_m, mask=in_m, other=0)
    first_m = prompt + place_m - window  # what stands here or before is out of sight
    best_m = tl.full([BLOCK_M], -1e30, tl.float32)
    sum_m = tl.zeros([BLOCK_M], tl.float32)
    out_m = tl.zeros([BLOCK_M, BLOCK_E], tl.float32)
    offs_n = tl.arange(0, BLOCK_N)
    for start in range(0, prompt, BLOCK_N):
        at = start + offs_n
        in_n = at < prompt
        k = tl.load(
            prompt_k + (block * P + at)[None, :] * D + offs_d[:, None],
            mask=in_n[None, :] & in_d[:, None],
            other=0.0,
        )
        seen = in_n[None, :] & (at[None, :] > first_m[:, None])
        scores = tl.where(seen, tl.dot(q_m, k, input_precision="ieee") * scaling, -1e30)
        new_best = tl.maximum(best_m, tl.max(scores, 1))
        p = tl.where(seen, tl.exp(scores - new_best[:, None]), 0.0)
        shrink = tl.exp(best_m - new_best)
        v = tl.load(
            prompt_v + (block * P + at)[:, None] * E + offs_e[None, :],
            mask=in_n[:, None] & in_e[None, :],
            other=0.0,
        )
        sum_m = sum_m * shrink + tl.sum(p, 1)
        out_m = out_m * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        best_m = new_best
    furthest = tl.max(tl.where(in_m, tl.minimum(place_m, OWN - 1), 0), 0)
    for sample in range(0, SAMPLES):
        for start in range(0, furthest + 1, BLOCK_N):
            at = start + offs_n
            in_n = at < OWN
            own = (block * SAMPLES + sample) * OWN + at
            k = tl.load(own_k + own[None, :] * D + offs_d[:, None], mask=in_n[None, :] & in_d[:, None], other=0.0)
            seen = (sample_m == sample)[:, None] & in_n[None, :] & (at[None, :] <= place_m[:, None])
            seen = seen & (prompt + at[None, :] > first_m[:, None])
            scores = tl.where(seen, tl.dot(q_m, k, input_precision="ieee") * scaling, -1e30)
            new_best = tl.maximum(best_m, tl.max(scores, 1))
            p = tl.where(seen, tl.exp(scores - new_best[:, None]), 0.0)
            shrink = tl.exp(best_m - new_best)
            v = tl.load(own_v + own[:, None] * E + offs_e[None, :], mask=in_n[:, None] & in_e[None, :], other=0.0)
            sum_m = sum_m * shrink + tl.sum(p, 1)
            out_m = out_m * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
            best_m = new_best
    sum_m = tl.where(in_m, sum_m, 1.0)
    to = row_m[:, None] * (HEADS * GROUP * E) + (head * GROUP + offs_m % GROUP)[:, None] * E + offs_e[None, :]
    tl.store(out + to, (out_m / sum_m[:, None]).to(out.dtype.element_ty), mask=in_m[:, None] & in_e[None, :])


def attend_slots(
    query_NHD: torch.Tensor,
    key_NKD: torch.Tensor,
    value_NKE: torch.Tensor,
    *,
    prompt_k: torch.Tensor,
    prompt_v: torch.Tensor,
    own_k: torch.Tensor,
    own_v: torch.Tensor,
    prompt_N: torch.Tensor,
    place_N: torch.Tensor,
    samples: int,
    scaling: float,
    window: int | None,
) -> torch.Tensor:
    """Keep the new tokens' keys and values, and attend: [N, H, E]. The last dimension of all is contiguous."""
    rows, query_heads, size = query_NHD.shape
    heads, width = key_NKD.shape[1], value_NKE.shape[2]
    group = query_heads // heads
    out = torch.empty(rows, query_heads, width, dtype=query_NHD.dtype, device=query_NHD.device)
    narrow = query_NHD.element_size() == 2
    _attend[(rows // samples, heads)](
        query_NHD,
        key_NKD,
        value_NKE,
        prompt_k,
        prompt_v,
        own_k,
        own_v,
        out,
        prompt_N,
        place_N,
        query_NHD.stride(0),
        query_NHD.stride(1),
        key_NKD.stride(0),
        key_NKD.stride(1),
        value_NKE.stride(0),
        value_NKE.stride(1),
        scaling,
        _NO_WINDOW if window is None else window,
        prompt_k.shape[2],
        own_k.shape[3],
        HEADS=heads,
        GROUP=group,
        SAMPLES=samples,
        D=size,
        E=width,
        BLOCK_M=max(16, _power_of_two(samples * group)),
        BLOCK_N=64 if narrow else 32,
        BLOCK_J=_power_of_two(samples),
        BLOCK_D=max(16, _power_of_two(size)),
        BLOCK_E=max(16, _power_of_two(width)),
        num_warps=4,
    )
    return out


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
    block = min(8192, _power_of_two(vocabulary))
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


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
