"""Measure how much the samples of one prompt resemble each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from finetrial.metrics.subsequence import lcs_length
from finetrial.metrics.tokens import unicode_tokens


@dataclass(frozen=True)
class Diversity:
    """Over the samples of one prompt; None with the reason where there are fewer than two.

    `identical` is the share of pairs with the same words in the same order, `similarity` the mean ROUGE-L F of all
    pairs, `distinct_2` the distinct over all 2-grams of all samples together.
    """

    n_samples: int
    n_distinct: int
    identical: float | None
    similarity: float | None
    distinct_2: float | None
    reason: str | None = None


def sample_diversity(texts: Sequence[str]) -> Diversity:
    """How alike the samples of one prompt are.

    The similarity of all pairs follows self-BLEU (Zhu et al., "Texygen", 2018) with ROUGE-L in place of BLEU,
    which is undefined on short texts; distinct-2 is Li et al., "A diversity-promoting objective function",
    2016, section 5.
    """
    cut = [tuple(unicode_tokens(text)) for text in texts]
    n_distinct = len(set(cut))
    if len(cut) < 2:
        return Diversity(len(cut), n_distinct, None, None, None, "fewer than two samples")
    pairs = list(itertools.combinations(cut, 2))
    identical = sum(a == b for a, b in pairs) / len(pairs)
    similarity = sum(_similarity(a, b) for a, b in pairs) / len(pairs)
    bigrams = [gram for tokens in cut for gram in itertools.pairwise(tokens)]
    distinct_2 = len(set(bigrams)) / len(bigrams) if bigrams else None
    return Diversity(len(cut), n_distinct, identical, similarity, distinct_2)


def _similarity(a: Sequence[str], b: Sequence[str]) -> float:
    if not a or not b:
        return float(a == b)
    return 2 * lcs_length(a, b) / (len(a) + len(b))
