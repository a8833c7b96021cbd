"""The training runs that a law is fitted to.

Shapes: R runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetrial.errors import UserError

COEFFICIENTS = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True)
class Runs:
    """Finished training runs. `lines_R` says where each stood in its file."""

    params_R: np.ndarray
    tokens_R: np.ndarray  # processed
    loss_R: np.ndarray
    lines_R: np.ndarray
    unique_tokens_R: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("params_R", "tokens_R", "loss_R", "unique_tokens_R"):
            values = getattr(self, name)
            assert values is None or (np.isfinite(values).all() and (values > 0).all()), name

    def __len__(self) -> int:
        return len(self.loss_R)

    @property
    def flops_R(self) -> np.ndarray:
        flops_R: np.ndarray = 6.0 * self.params_R * self.tokens_R
        return flops_R

    @property
    def epochs_R(self) -> np.ndarray:
        if self.unique_tokens_R is None:
            return np.ones(len(self))
        epochs_R: np.ndarray = self.tokens_R / self.unique_tokens_R
        return epochs_R

    def select(self, mask_R: np.ndarray) -> Runs:
        unique = self.unique_tokens_R
        return Runs(
            self.params_R[mask_R],
            self.tokens_R[mask_R],
            self.loss_R[mask_R],
            self.lines_R[mask_R],
            None if unique is None else unique[mask_R],
        )

    def without_highest(self, count: int) -> Runs:
        """Without the `count` runs of the highest loss."""
        keep_R = np.ones(len(self), dtype=bool)
        keep_R[np.argsort(-self.loss_R, kind="stable")[:count]] = False
        return self.select(keep_R)

    def with_loss(self, loss_R: np.ndarray) -> Runs:
        return replace(self, loss_R=loss_R)


def require_enough(runs: Runs, *, coefficients: int) -> None:
    """Raise UserError where the runs cannot determine so many coefficients."""
    if len(runs) < coefficients:
        raise UserError(
            "fewer runs than coefficients",
            got=f"{len(runs)} runs",
            expected=f"at least {coefficients} runs for {coefficients} coefficients, and more to judge the fit",
        )
    for name, values in (("params", runs.params_R), ("tokens", runs.tokens_R)):
        if len(np.unique(values)) < 3:
            raise UserError(
                f"the runs differ too little in {name}",
                got=f"{len(np.unique(values))} different values",
                expected="at least 3, or that term of the law has no shape",
            )
