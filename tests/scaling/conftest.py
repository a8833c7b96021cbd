"""The published runs, where they are."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from synthetic_runs import COLUMNS

from finetrial.api.run_table import read_runs
from finetrial.scaling.training_runs import Runs

CHINCHILLA = Path(__file__).parents[3] / "shared" / "data" / "chinchilla_runs.csv"


@pytest.fixture(scope="session")
def chinchilla_file() -> Path:
    if not CHINCHILLA.is_file():
        pytest.skip(f"real data: {CHINCHILLA.name} is not in ../shared/data")
    return CHINCHILLA


@pytest.fixture(scope="session")
def chinchilla(chinchilla_file: Path) -> Runs:
    return read_runs(chinchilla_file, columns=COLUMNS)
