"""The tiny trial, blinded and ready to grade."""

import pytest
from grading_material import distinct_samples, make_folder


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "tiny", distinct_samples(), criterion="Good is short.")
