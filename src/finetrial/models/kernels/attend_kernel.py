"""Attention of a decoding step as one Triton kernel, for a card: `shared_attention.plain_shared_attention`.

In torch's own operations a layer's attention is ten launches. It is tried against the plain computation before it
is used (sampling/decode_paths.py). This module is imported only where Triton is.

Shapes: S slots, k samples each, N = S k rows, K key-value heads, G query heads of each, H = K G, D head size;
P places of a prompt, O of a sample.
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
        BLOCK_M=max(16, power_of_two(samples * group)),
        BLOCK_N=64 if narrow else 32,
        BLOCK_J=power_of_two(samples),
        BLOCK_D=max(16, power_of_two(size)),
        BLOCK_E=max(16, power_of_two(width)),
        num_warps=4,
    )
    return out


def power_of_two(least: int) -> int:
    """The smallest that is not below."""
    return 1 << (least - 1).bit_length()
