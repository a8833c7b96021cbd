"""Choose the next token from logits and one uniform number a sequence, by inversion.

Sampling by inversion: the tokens are ordered by probability and the one whose cumulative share covers u is taken.
The same u then means the same choice in every arm whose distribution agrees, whatever else is in the batch.

Shapes: B sequences, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_SHORTLIST = 256  # assumption: most nuclei are smaller; where one is not, the whole vocabulary is sorted


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen token of each sequence and its log-probability in nats under the untempered model."""

    token_B: torch.Tensor
    logprob_B: torch.Tensor


def choose(logits_BV: torch.Tensor, *, uniform_B: torch.Tensor, temperature: float, top_p: float) -> Choice:
    """Choose one token a sequence by nucleus sampling (Holtzman et al. 2020, section 3.1).

    `uniform_B` are numbers in [0, 1). Temperature 0 is greedy. The nucleus is the smallest set of most probable
    tokens whose tempered probabilities sum to at least `top_p`.
    """
    logits_BV = logits_BV.float()
    normaliser_B = torch.logsumexp(logits_BV, dim=-1)
    if temperature == 0:
        best_B, token_B = logits_BV.max(dim=-1)
        return Choice(token_B, best_B - normaliser_B)
    tempered_B = normaliser_B if temperature == 1 else torch.logsumexp(logits_BV / temperature, dim=-1)
    kept = min(_SHORTLIST, logits_BV.shape[-1])
    while True:
        top_BK, index_BK = torch.topk(logits_BV, kept, dim=-1)
        share_BK = torch.exp(top_BK / temperature - tempered_B[:, None])
        cumulative_BK = share_BK.cumsum(dim=-1)
        if kept == logits_BV.shape[-1] or bool((cumulative_BK[:, -1] >= top_p).all()):
            break
        kept = logits_BV.shape[-1]
    before_BK = cumulative_BK - share_BK
    in_nucleus_BK = before_BK < top_p  # the token that crosses top_p is the last one in
    in_nucleus_BK[:, 0] = True
    share_BK = share_BK * in_nucleus_BK
    cumulative_BK = share_BK.cumsum(dim=-1)
    threshold_B1 = uniform_B[:, None].to(cumulative_BK.dtype) * cumulative_BK[:, -1:]
    place_B1 = torch.searchsorted(cumulative_BK, threshold_B1, right=True)
    last_B1 = in_nucleus_BK.sum(dim=-1, keepdim=True) - 1  # rounding may push u past the last token
    place_B1 = torch.minimum(place_B1, last_B1)
    token_B = index_BK.gather(1, place_B1).squeeze(1)
    return Choice(token_B, top_BK.gather(1, place_B1).squeeze(1) - normaliser_B)
