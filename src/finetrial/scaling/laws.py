"""The loss that a scaling law predicts for a model of N parameters and D tokens.

Three forms stand here. All return the cross-entropy in nats a token on the corpus and tokenizer of the law's own
runs, and all answer the inverse question, which has no answer below the floor at that size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

FLOPS_PER_PARAM_TOKEN = 6.0  # Kaplan et al. 2020, section 2.1: 2 forward, 4 backward; Hoffmann et al. 2022, app. F


def training_flops(params: float, *, tokens: float) -> float:
    """C = 6 N D: the FLOPs of training N parameters on D processed tokens."""
    return FLOPS_PER_PARAM_TOKEN * params * tokens


class Law(Protocol):
    """What every law answers, whatever its form."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def params_meaning(self) -> str: ...

    @property
    def caveat(self) -> str | None: ...

    @property
    def largest_run_flops(self) -> float | None: ...

    def loss(self, params: float, *, tokens: float) -> float: ...

    def floor(self, params: float) -> float: ...

    def tokens_for_loss(self, params: float, *, loss: float) -> float | None: ...


@dataclass(frozen=True)
class ParametricLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, eq. 2)."""

    name: str
    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str
    params_meaning: str  # the definition of N that the fit used
    caveat: str | None = None
    largest_run_flops: float | None = None  # 6 N D of the largest run fitted; None where it is not published
    rounded: bool = False  # printed with so few digits that an allocation moves
    unrounded_name: str | None = None  # the same fit with all its digits, where published

    @property
    def coefficients(self) -> dict[str, float]:
        return {"E": self.E, "A": self.A, "B": self.B, "alpha": self.alpha, "beta": self.beta}

    def loss(self, params: float, *, tokens: float) -> float:
        loss: float = self.E + self.A / params**self.alpha + self.B / tokens**self.beta
        return loss

    def floor(self, params: float) -> float:
        """E + A / N^alpha: the loss that unlimited fresh data would approach and never reach."""
        floor: float = self.E + self.A / params**self.alpha
        return floor

    def tokens_for_loss(self, params: float, *, loss: float) -> float | None:
        """D = (B / (L - E - A / N^alpha))^(1 / beta); None at or below the floor."""
        gap = loss - self.floor(params)
        return _power_or_none(self.B / gap, 1 / self.beta) if gap > 0 else None

    @property
    def G(self) -> float:
        """(alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann et al. 2022, eq. 4)."""
        scale: float = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return scale

    def optimal_params(self, flops: float) -> float:
        """N* = G (C / 6)^(beta / (alpha + beta)): the size with the least loss at C FLOPs of fresh data."""
        best: float = self.G * (flops / FLOPS_PER_PARAM_TOKEN) ** (self.beta / (self.alpha + self.beta))
        return best

    def optimal_params_for_tokens(self, tokens: float) -> float:
        """The size for which `tokens` is the compute-optimal amount of data: N = G (G D)^(beta / alpha).

        From D* = (C / 6)^(alpha / (alpha + beta)) / G, solved for C and put into N*.
        """
        params: float = self.G * (self.G * tokens) ** (self.beta / self.alpha)
        return params

    def optimal_tokens_for_params(self, params: float) -> float:
        """The data for which N is the compute-optimal size: the inverse of `optimal_params_for_tokens`."""
        tokens: float = (params / self.G) ** (self.alpha / self.beta) / self.G
        return tokens


@dataclass(frozen=True)
class DataLimitedLaw:
    """L(N, D) = [(Nc / N)^(alpha_N / alpha_D) + Dc / D]^alpha_D (Kaplan et al. 2020, eq. 1.5).

    D is the size of the training set and training goes on until the test loss stops falling: passes are free.
    """

    name: str
    params_scale: float  # Nc
    tokens_scale: float  # Dc
    alpha_params: float
    alpha_tokens: float
    source: str
    params_meaning: str
    caveat: str | None = None
    largest_run_flops: float | None = None

    @property
    def coefficients(self) -> dict[str, float]:
        return {
            "Nc": self.params_scale,
            "Dc": self.tokens_scale,
            "alpha_N": self.alpha_params,
            "alpha_D": self.alpha_tokens,
        }

    def _capacity(self, params: float) -> float:
        capacity: float = (self.params_scale / params) ** (self.alpha_params / self.alpha_tokens)
        return capacity

    def loss(self, params: float, *, tokens: float) -> float:
        loss: float = (self._capacity(params) + self.tokens_scale / tokens) ** self.alpha_tokens
        return loss

    def floor(self, params: float) -> float:
        floor: float = (self.params_scale / params) ** self.alpha_params
        return floor

    def tokens_for_loss(self, params: float, *, loss: float) -> float | None:
        if loss <= self.floor(params):
            return None
        gap = loss ** (1 / self.alpha_tokens) - self._capacity(params)
        return self.tokens_scale / gap if gap > 0 else None


@dataclass(frozen=True)
class FinetuningLaw:
    """L(X, D_f) = E + A / (X^alpha D_f^beta) (Zhang et al. 2024, eq. 1): model size times fine-tuning data.

    D_f counts fine-tuning examples, not tokens, and the constants belong to one task and one way of tuning.
    """

    name: str
    E: float
    A: float
    alpha: float
    beta: float
    source: str
    params_meaning: str
    caveat: str | None = None
    largest_run_flops: float | None = None

    @property
    def coefficients(self) -> dict[str, float]:
        return {"E": self.E, "A": self.A, "alpha": self.alpha, "beta": self.beta}

    def loss(self, params: float, *, tokens: float) -> float:
        loss: float = self.E + self.A / (params**self.alpha * tokens**self.beta)
        return loss

    def floor(self, params: float) -> float:
        return self.E

    def tokens_for_loss(self, params: float, *, loss: float) -> float | None:
        gap = loss - self.E
        return _power_or_none(self.A / (params**self.alpha * gap), 1 / self.beta) if gap > 0 else None


def _power_or_none(base: float, exponent: float) -> float | None:
    """base^exponent, or None when it is too large for a float: so near the floor that no data would do."""
    try:
        value = base**exponent
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
