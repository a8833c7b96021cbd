"""Choose the next token from logits and one uniform number a sequence, by inversion.

Sampling by inversion: the tokens are ordered by probability and the one whose cumulative share covers u is taken.
The same u then means the same choice in every arm whose distribution agrees, whatever else is in the batch. What
top-k, top-p and min-p leave is always the beginning of that order. Near-ties, where float32 sums in another order
could choose another token, are found where they are asked for (near_ties.py).

Shapes: B sequences, V vocabulary, K tokens of a shortlist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from finetrial.sampling.deep_choice import choose_deep
from finetrial.sampling.near_ties import Order, near_greedy, near_nucleus, noise_of
from finetrial.trial.resolve import Decoding

_SHORTLIST = 256  # assumption: most nuclei are smaller


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen token of each sequence and its log-probability in nats under the untempered model."""

    token_B: torch.Tensor
    logprob_B: torch.Tensor
    near_B: torch.Tensor | None = None  # whether rounding could have chosen another; None: not looked for


def penalised(logits_BV: torch.Tensor, *, seen_BV: torch.Tensor, penalty: float) -> torch.Tensor:
    """Logits of tokens that stand in the sequence already, divided by the penalty, or times it below zero
    (Keskar et al. 2019, section 4.1)."""
    lower_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, lower_BV, logits_BV)


def choose(
    logits_BV: torch.Tensor,
    *,
    uniform_B: torch.Tensor,
    temperature: float,
    top_p: float,
    top_k: int | None = None,
    min_p: float = 0.0,
    penalty: float = 1.0,
    seen_BV: torch.Tensor | None = None,
    shortlist: bool = True,
    ties: bool = False,
) -> Choice:
    """Choose one token a sequence by nucleus sampling (Holtzman et al. 2020, section 3.1).

    `uniform_B` are numbers in [0, 1). Temperature 0 is greedy. The nucleus is the smallest set of most probable
    tokens whose tempered probabilities sum to at least `top_p`, of the `top_k` most probable ones where that is
    given; of these only tokens stay that have at least `min_p` times the probability of the most probable one
    (Nguyen et al. 2024, section 3). Tokens of `seen_BV` are penalised first. The log-probability is that without
    any of it. With a `shortlist`, on a CPU, only what few tokens do not cover is sought in the whole vocabulary;
    without it the vocabulary is sorted, and nothing is asked of the device. `ties` looks for near-ties.
    """
    logits_BV = logits_BV.float()
    normaliser_B = torch.logsumexp(logits_BV, dim=-1)
    shown_BV = logits_BV
    if seen_BV is not None and penalty != 1:
        shown_BV = penalised(logits_BV, seen_BV=seen_BV, penalty=penalty)
    if temperature == 0:
        token_B = shown_BV.argmax(dim=-1)
        near_B = near_greedy(shown_BV) if ties else None
        return Choice(token_B, _gathered(logits_BV, token_B) - normaliser_B, near_B)
    vocabulary = shown_BV.shape[-1]
    count = vocabulary if top_k is None else min(top_k, vocabulary)
    shortened = shortlist and top_k is None and shown_BV.device.type == "cpu"
    kept = min(_SHORTLIST, count) if shortened else count
    whole_B = None
    if count == vocabulary:
        is_plain = temperature == 1 and shown_BV is logits_BV
        whole_B = normaliser_B if is_plain else torch.logsumexp(shown_BV / temperature, dim=-1)
    top_BK, index_BK = torch.topk(shown_BV, min(kept + ties, vocabulary), dim=-1)
    next_B1 = top_BK[:, kept:] / temperature  # the best of those left out
    top_BK, index_BK = top_BK[:, :kept] / temperature, index_BK[:, :kept]
    if whole_B is None:  # of the k most probable ones
        whole_B = torch.logsumexp(top_BK, dim=-1)
    share_BK = torch.exp(top_BK - whole_B[:, None])
    # at float32 a sum over 50,000 words alike would be off by several of them
    wide = share_BK.dtype if share_BK.device.type == "mps" else torch.float64
    before_BK = share_BK.cumsum(dim=-1, dtype=wide) - share_BK
    stays_BK = before_BK < top_p  # the token that crosses top_p is the last one in
    if min_p > 0:
        stays_BK &= share_BK >= min_p * share_BK[:, :1]
    stays_BK[:, 0] = True
    cumulative_BK = (share_BK * stays_BK).cumsum(dim=-1, dtype=wide)
    threshold_B1 = uniform_B[:, None].to(cumulative_BK.dtype) * cumulative_BK[:, -1:]
    place_B1 = torch.searchsorted(cumulative_BK, threshold_B1, right=True)
    last_B1 = stays_BK.sum(dim=-1, keepdim=True) - 1  # rounding may push u past the last token
    place_B1 = torch.minimum(place_B1, last_B1)
    token_B = index_BK.gather(1, place_B1).squeeze(1)
    near_B = None
    if ties:
        noise_B1 = noise_of(shown_BV, temperature=temperature)
        order = Order(torch.cat((top_BK, next_B1), dim=1), share_BK, before_BK, threshold_B1, place_B1, last_B1)
        near_B = near_nucleus(order, noise_B1=noise_B1, uniform_B=uniform_B, top_p=top_p, min_p=min_p)
    if kept < count:
        covered_B = share_BK.sum(dim=-1) >= top_p
        if min_p > 0:
            covered_B |= share_BK[:, -1] < min_p * share_BK[:, 0]
        for row in (~covered_B).nonzero()[:, 0].tolist():
            deep = choose_deep(
                shown_BV[row].numpy(),
                uniform=float(uniform_B[row]),
                temperature=temperature,
                top_p=top_p,
                min_p=min_p,
                noise=float(noise_B1[row]) if ties else None,
            )
            token_B[row] = deep.token
            if near_B is not None:
                near_B[row] = bool(deep.near)
    return Choice(token_B, _gathered(logits_BV, token_B) - normaliser_B, near_B)


def choose_by(
    decoding: Decoding,
    logits_BV: torch.Tensor,
    *,
    uniform_B: torch.Tensor,
    seen_BV: torch.Tensor | None = None,
    shortlist: bool = True,
    ties: bool = False,
) -> Choice:
    """`choose` by an arm's settings; `seen_BV` is needed where they penalise repetition."""
    return choose(
        logits_BV,
        uniform_B=uniform_B,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        min_p=decoding.min_p,
        penalty=decoding.repetition_penalty,
        seen_BV=seen_BV,
        shortlist=shortlist,
        ties=ties,
    )


def seen_tokens(sequences: Sequence[Sequence[int]], *, like_BV: torch.Tensor) -> torch.Tensor:
    """Which tokens of the vocabulary stand in each sequence: [B, V]."""
    seen_BV = torch.zeros(like_BV.shape, dtype=torch.bool)
    for row, ids in enumerate(sequences):
        seen_BV[row, list(ids)] = True
    return seen_BV.to(like_BV.device)


def _gathered(logits_BV: torch.Tensor, token_B: torch.Tensor) -> torch.Tensor:
    return logits_BV.gather(1, token_B[:, None]).squeeze(1)
