"""Test whether raters could tell which arm wrote what.

Guesses are shuffled among the texts that were guessed: what is left of the hits by chance keeps how often each arm
was named and how often each arm wrote, so that a rater who always names one arm proves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from finetrial.errors import UserError


@dataclass(frozen=True)
class Guessing:
    """Hits among guesses, what chance gives, and the one-sided p of as many hits or more."""

    hits: int
    of: int
    expected: float | None  # mean hits under shuffling
    p: float | None
    n_draws: int
    seed: int
    reason: str | None = None


def guessing_test(
    guessed: Sequence[str], written_by: Sequence[Collection[str]], *, seed: int = 0, n_draws: int = 9_999
) -> Guessing:
    """Test guesses against chance by permutation, with the +1 rule (Phipson & Smyth 2010, equation 2).

    `written_by[i]` holds the arms that wrote text i: several where arms wrote the same. Undefined when nothing was
    guessed or every guess names one arm.
    """
    if len(guessed) != len(written_by):
        raise UserError("every guess needs its text", got=f"{len(guessed)} guesses and {len(written_by)} texts")
    arms = sorted(set(guessed))
    if len(arms) < 2:
        hits = sum(guess in truth for guess, truth in zip(guessed, written_by, strict=True))
        reason = "every guess names one arm" if arms else "nobody guessed"
        return Guessing(hits, len(guessed), None, None, n_draws, seed, reason)
    # right_GT[g, t]: would guess g be right of text t?
    right_GT = np.array([[guess in truth for truth in written_by] for guess in guessed], dtype=bool)
    texts = np.arange(len(guessed))
    hits = int(right_GT[texts, texts].sum())
    rng = np.random.default_rng(seed)
    draws = np.array([right_GT[texts, rng.permutation(texts)].sum() for _ in range(n_draws)])
    p = (int((draws >= hits).sum()) + 1) / (n_draws + 1)
    return Guessing(hits, len(guessed), float(right_GT.mean() * len(guessed)), p, n_draws, seed)
