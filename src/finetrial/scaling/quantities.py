"""What a fit is asked for (a coefficient, the best size, a loss) as a function of the law, with its gradient.

Every quantity is above zero and is taken on the log scale, except the exponents, which are their own scale.

Shapes: B candidates, P = 5 coordinates theta = (a', b', e, alpha, beta) as in objective.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from finetrial.scaling.laws import FLOPS_PER_PARAM_TOKEN
from finetrial.scaling.objective import Objective, P


@dataclass(frozen=True)
class Centres:
    """The means of ln N and ln D that the coordinates a' and b' are centred at."""

    params: float
    tokens: float

    @staticmethod
    def of(problem: Objective) -> Centres:
        return Centres(problem.centre_params, problem.centre_tokens)


class Quantity(Protocol):
    """A number that a law determines. `logarithmic`: `evaluate` gives its natural logarithm."""

    @property
    def logarithmic(self) -> bool: ...

    def evaluate(self, theta_BP: np.ndarray, centres: Centres) -> tuple[np.ndarray, np.ndarray]:
        """The value of each candidate, shape (B,), and its gradient, shape (B, P)."""
        ...


@dataclass(frozen=True)
class Coefficient:
    """E, A, B, alpha or beta."""

    name: str

    @property
    def logarithmic(self) -> bool:
        return self.name in ("E", "A", "B")

    def evaluate(self, theta_BP: np.ndarray, centres: Centres) -> tuple[np.ndarray, np.ndarray]:
        # ln A = a' + alpha mean(ln N) and ln B = b' + beta mean(ln D); the others are coordinates themselves
        direction_P = {
            "A": np.array([1.0, 0, 0, centres.params, 0]),
            "B": np.array([0, 1.0, 0, 0, centres.tokens]),
            "E": np.array([0, 0, 1.0, 0, 0]),
            "alpha": np.array([0, 0, 0, 1.0, 0]),
            "beta": np.array([0, 0, 0, 0, 1.0]),
        }[self.name]
        return theta_BP @ direction_P, np.broadcast_to(direction_P, (len(theta_BP), P))


@dataclass(frozen=True)
class BestSize:
    """N* at a budget: alpha A / N*^alpha = beta B / D*^beta and 6 N* D* = C (Hoffmann et al. 2022, eq. 4)."""

    flops: float
    logarithmic = True

    def evaluate(self, theta_BP: np.ndarray, centres: Centres) -> tuple[np.ndarray, np.ndarray]:
        a, b, _, alpha, beta = theta_BP.T
        # ln(alpha A) - alpha ln N = ln(beta B) - beta (ln(C / 6) - ln N), solved for ln N
        budget = np.log(self.flops / FLOPS_PER_PARAM_TOKEN)
        above = np.log(alpha) + a + alpha * centres.params - np.log(beta) - b - beta * (centres.tokens - budget)
        size = above / (alpha + beta)
        gradient = np.stack(
            [
                np.ones_like(a),
                -np.ones_like(a),
                np.zeros_like(a),
                1 / alpha + centres.params - size,
                -1 / beta - centres.tokens + budget - size,
            ],
            axis=1,
        )
        return size, gradient / (alpha + beta)[:, None]


@dataclass(frozen=True)
class LossAt:
    """The loss of N parameters on D fresh tokens."""

    params: float
    tokens: float
    logarithmic = True

    def evaluate(self, theta_BP: np.ndarray, centres: Centres) -> tuple[np.ndarray, np.ndarray]:
        count = len(theta_BP)
        log_params, log_tokens = np.full(count, np.log(self.params)), np.full(count, np.log(self.tokens))
        return _log_loss(theta_BP, centres, log_params=log_params, log_tokens=log_tokens)


@dataclass(frozen=True)
class BestLoss:
    """The loss of the best size at a budget; at the optimum N* moves it by nothing, so its gradient needs none."""

    flops: float
    logarithmic = True

    def evaluate(self, theta_BP: np.ndarray, centres: Centres) -> tuple[np.ndarray, np.ndarray]:
        log_params, _ = BestSize(self.flops).evaluate(theta_BP, centres)
        log_tokens = np.log(self.flops / FLOPS_PER_PARAM_TOKEN) - log_params
        return _log_loss(theta_BP, centres, log_params=log_params, log_tokens=log_tokens)


def _log_loss(
    theta_BP: np.ndarray, centres: Centres, *, log_params: np.ndarray, log_tokens: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    a, b, e, alpha, beta = theta_BP.T
    x, y = log_params - centres.params, log_tokens - centres.tokens
    terms_3B = np.stack([a - alpha * x, b - beta * y, e])
    highest_B = terms_3B.max(axis=0)
    parts_3B = np.exp(terms_3B - highest_B)
    total_B = parts_3B.sum(axis=0)
    first, second, floor = parts_3B / total_B
    return highest_B + np.log(total_B), np.stack([first, second, floor, -first * x, -second * y], axis=1)
