"""One thread, so that results repeat and nobody else on the machine waits."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
