"""Find near-ties: choices that float32 sums in another order, as in another batch, could have made otherwise.

Sums in another order move logits a little. A choice hangs on that where its random number falls beside the border
between two tokens, where two tokens beside each other in the order are as probable, or where the last token of the
nucleus is as good as out and its weight would move the border past the number.

Shapes: B sequences, V vocabulary, K tokens in the order of probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Of the largest logit's size. Between prompts read together and alone at float32 a logit moved by up to 2.1e-6 of
# it beside the others, and a cumulative share c by up to 1e-6 of it times c (1 - c), for SmolLM2-135M at its
# trained weights and GPT-2 124M at random ones (2026-11-26, 96 steps each); twice that.
LOGIT_NOISE = 4e-6
SHARE_NOISE = 2e-6 / LOGIT_NOISE
ROUNDING = 2e-7  # of shares, whose sums are float64


@dataclass(frozen=True, slots=True)
class Order:
    """The tokens of a row by probability, and the choice among them."""

    top_BL: torch.Tensor  # tempered logits, with those of the first that was left out, where one was
    share_BK: torch.Tensor
    before_BK: torch.Tensor  # the share of all that stand before
    threshold_B1: torch.Tensor  # the random number as a share
    place_B1: torch.Tensor  # of the chosen one
    last_B1: torch.Tensor  # of the nucleus


def noise_of(shown_BV: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """How far two tempered logits may move apart: [B, 1]."""
    return shown_BV.abs().amax(dim=-1, keepdim=True) * (LOGIT_NOISE / (temperature or 1.0))


def near_greedy(shown_BV: torch.Tensor) -> torch.Tensor:
    """Whether the second best is as good as the best."""
    best_B2 = shown_BV.topk(min(2, shown_BV.shape[-1]), dim=-1).values
    return best_B2[:, 0] - best_B2[:, -1] <= noise_of(shown_BV, temperature=0)[:, 0]


def share_noise(share: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """How far a cumulative share may move."""
    return SHARE_NOISE * noise * share * (1 - share).clamp(min=0) + ROUNDING


def near_nucleus(
    order: Order, *, noise_B1: torch.Tensor, uniform_B: torch.Tensor, top_p: float, min_p: float
) -> torch.Tensor:
    """Whether rounding could have chosen another token than the one in its place."""
    place_B1, last_B1 = order.place_B1, order.last_B1
    furthest, listed = order.share_BK.shape[1] - 1, order.top_BL.shape[1] - 1

    def at(x_BK: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        return x_BK.gather(1, place.clamp(0, x_BK.shape[1] - 1))

    share_B1, before_B1 = at(order.share_BK, place_B1), at(order.before_BK, place_B1)
    after_B1 = before_B1 + share_B1
    # the nucleus: would its last token be out, or the next one in?
    edge_B1, after_edge_B1 = at(order.before_BK, last_B1), at(order.before_BK, last_B1 + 1)
    loose_B1 = (edge_B1 - top_p).abs() <= share_noise(edge_B1, noise_B1)
    loose_B1 |= (last_B1 < furthest) & ((after_edge_B1 - top_p).abs() <= share_noise(after_edge_B1, noise_B1))
    if listed > furthest:  # of the k best: would the last be another?
        loose_B1 |= (last_B1 == furthest) & (order.top_BL[:, -2:-1] - order.top_BL[:, -1:] <= noise_B1)
    if min_p > 0:
        for edge in (last_B1, (last_B1 + 1).clamp(max=furthest)):
            ratio_B1 = at(order.share_BK, edge) / (min_p * order.share_BK[:, :1])
            loose_B1 |= (ratio_B1 - 1).abs() <= noise_B1
    moved_B1 = torch.where(loose_B1, uniform_B[:, None] * at(order.share_BK, last_B1), 0.0)
    near_B1 = order.threshold_B1 - before_B1 <= share_noise(before_B1, noise_B1) + moved_B1
    near_B1 &= place_B1 > 0  # before the first there is none
    beyond_B1 = after_B1 - order.threshold_B1 <= share_noise(after_B1, noise_B1) + moved_B1
    near_B1 |= beyond_B1 & ((place_B1 < last_B1) | loose_B1)
    own_B1 = at(order.top_BL, place_B1)
    near_B1 |= (place_B1 > 0) & (at(order.top_BL, place_B1 - 1) - own_B1 <= noise_B1)
    near_B1 |= (place_B1 < listed) & (own_B1 - at(order.top_BL, place_B1 + 1) <= noise_B1)
    return near_B1.squeeze(1)
