"""Runs to fit: the published ones, where they are, and synthetic ones from a known law."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from finetrial.cli.scale_runs import read_runs
from finetrial.scaling.laws import ParametricLaw
from finetrial.scaling.runs import Runs

CHINCHILLA = Path(__file__).parents[3] / "shared" / "data" / "chinchilla_runs.csv"
COLUMNS = "params=Model Size,flops=Training FLOP"


@pytest.fixture(scope="session")
def chinchilla_file() -> Path:
    if not CHINCHILLA.is_file():
        pytest.skip(f"real data: {CHINCHILLA.name} is not in ../shared/data")
    return CHINCHILLA


@pytest.fixture(scope="session")
def chinchilla(chinchilla_file: Path) -> Runs:
    return read_runs(chinchilla_file, columns=COLUMNS)


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
