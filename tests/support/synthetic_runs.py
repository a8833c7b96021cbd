"""Runs of a law that is known, so that a fit can be wrong."""

import numpy as np

from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.training_runs import Runs

COLUMNS = "params=Model Size,flops=Training FLOP"


def synthetic(law: ParametricLaw, *, runs: int, noise: float, seed: int) -> Runs:
    """Runs of a known law, sizes 3e7 to 1e10 and tokens 1e9 to 3e11, with log-normal noise."""
    generator = np.random.default_rng(seed)
    params_R = 10 ** generator.uniform(7.5, 10, runs)
    tokens_R = 10 ** generator.uniform(9, 11.5, runs)
    loss_R = law.E + law.A / params_R**law.alpha + law.B / tokens_R**law.beta
    return Runs(
        params_R,
        tokens_R,
        loss_R * np.exp(noise * generator.standard_normal(runs)),
        np.arange(2, runs + 2),
    )
