"""The distance of candidate laws from the runs, with its derivatives, for many candidates at once.

The objective of Hoffmann et al. 2022, eq. 3: the sum over runs of Huber_delta(log L - LSE(a - alpha ln N,
b - beta ln D, e)), with A = exp(a), B = exp(b), E = exp(e). Value, gradient and Hessian are exact. ln N and ln D
are centred, which takes most of the correlation between a and alpha away and conditions Newton steps well.

Shapes: B candidates, R runs, P = 5 coordinates theta = (a', b', e, alpha, beta) with a' = a - alpha mean(ln N).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetrial.scaling.training_runs import Runs

P = 5


@dataclass(frozen=True)
class Curvature:
    """The objective around candidates."""

    value_B: np.ndarray
    gradient_BP: np.ndarray
    hessian_BPP: np.ndarray
    majorizer_BPP: np.ndarray  # reweighted Gauss-Newton: positive semi-definite, safe where the Hessian is not


@dataclass(frozen=True)
class Objective:
    """The Huber objective on fixed runs."""

    log_params_R: np.ndarray  # centred
    log_tokens_R: np.ndarray  # centred
    log_loss_R: np.ndarray  # or one row for each candidate, shape (B, R)
    centre_params: float
    centre_tokens: float
    delta: float

    @staticmethod
    def of(runs: Runs, *, delta: float) -> Objective:
        log_params_R, log_tokens_R = np.log(runs.params_R), np.log(runs.tokens_R)
        centre_params, centre_tokens = float(log_params_R.mean()), float(log_tokens_R.mean())
        return Objective(
            log_params_R - centre_params,
            log_tokens_R - centre_tokens,
            np.log(runs.loss_R),
            centre_params,
            centre_tokens,
            delta,
        )

    @property
    def runs(self) -> int:
        return len(self.log_params_R)

    def for_candidates(self, index_B: np.ndarray) -> Objective:
        """The same objective for some of the candidates, where each has losses of its own."""
        if self.log_loss_R.ndim == 1:
            return self
        return replace(self, log_loss_R=self.log_loss_R[index_B])

    def residuals(self, theta_BP: np.ndarray) -> np.ndarray:
        """log L measured minus log L predicted, shape (B, R)."""
        residuals_BR: np.ndarray = self.log_loss_R - self._parts(theta_BP)[0]
        return residuals_BR

    def _parts(self, theta_BP: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        a, b, e, alpha, beta = (theta_BP[:, index, None] for index in range(P))
        first_BR = np.exp(a - alpha * self.log_params_R)
        second_BR = np.exp(b - beta * self.log_tokens_R)
        floor_B1 = np.exp(e)
        total_BR = first_BR + second_BR + floor_B1
        return np.log(total_BR), first_BR / total_BR, second_BR / total_BR, floor_B1 / total_BR

    def values(self, theta_BP: np.ndarray, *, weights_BR: np.ndarray) -> np.ndarray:
        size_BR = np.abs(self.residuals(theta_BP))
        inside_BR = np.minimum(size_BR, self.delta)
        values_B: np.ndarray = (weights_BR * inside_BR * (size_BR - 0.5 * inside_BR)).sum(axis=1)
        return values_B

    def curvature(self, theta_BP: np.ndarray, *, weights_BR: np.ndarray) -> Curvature:
        """Value, gradient, exact Hessian and majorizer.

        With p the softmax of the three terms and v their gradients, J = sum p v and
        d2(-log-sum-exp) = J J^T - sum p v v^T, so the Hessian of Huber(r) is (psi' + psi) J J^T - psi sum p v v^T.
        """
        log_prediction_BR, p1, p2, p3 = self._parts(theta_BP)
        residual_BR = self.log_loss_R - log_prediction_BR
        size_BR = np.abs(residual_BR)
        inside_BR = np.minimum(size_BR, self.delta)
        value_B = (weights_BR * inside_BR * (size_BR - 0.5 * inside_BR)).sum(axis=1)
        psi_BR = weights_BR * np.clip(residual_BR, -self.delta, self.delta)
        x1, x2 = -self.log_params_R, -self.log_tokens_R
        jacobian_BRP = np.stack([p1, p2, p3, p1 * x1, p2 * x2], axis=2)
        transposed_BPR = jacobian_BRP.transpose(0, 2, 1)
        gradient_BP = -(transposed_BPR @ psi_BR[:, :, None])[:, :, 0]
        slope_BR = weights_BR * (size_BR <= self.delta) + psi_BR
        hessian_BPP = transposed_BPR @ (jacobian_BRP * slope_BR[:, :, None])
        q1, q2 = psi_BR * p1, psi_BR * p2
        for row, term, x in ((0, q1, x1), (1, q2, x2)):
            crossed = (term * x).sum(axis=1)
            hessian_BPP[:, row, row] -= term.sum(axis=1)
            hessian_BPP[:, row, row + 3] -= crossed
            hessian_BPP[:, row + 3, row] -= crossed
            hessian_BPP[:, row + 3, row + 3] -= (term * x * x).sum(axis=1)
        hessian_BPP[:, 2, 2] -= (psi_BR * p3).sum(axis=1)
        bounded_BR = weights_BR * self.delta / np.maximum(size_BR, self.delta)
        majorizer_BPP = transposed_BPR @ (jacobian_BRP * bounded_BR[:, :, None])
        return Curvature(value_B, gradient_BP, hessian_BPP, majorizer_BPP)

    def to_coefficients(self, theta_BP: np.ndarray) -> np.ndarray:
        """(E, A, B, alpha, beta) of each candidate, shape (B, 5)."""
        a, b, e, alpha, beta = theta_BP.T
        return np.stack(
            [
                np.exp(e),
                np.exp(a + alpha * self.centre_params),
                np.exp(b + beta * self.centre_tokens),
                alpha,
                beta,
            ],
            axis=1,
        )

    def from_coefficients(self, coefficients_BP: np.ndarray) -> np.ndarray:
        """The inverse of `to_coefficients`."""
        E, A, B, alpha, beta = coefficients_BP.T
        return np.stack(
            [
                np.log(A) - alpha * self.centre_params,
                np.log(B) - beta * self.centre_tokens,
                np.log(E),
                alpha,
                beta,
            ],
            axis=1,
        )
