"""What a library says to its caller is not shown to the user."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tiny_trials import TRIAL, make_base

MORE = """
  vera: {method: vera, rank: 4, learning_rate: 1e-2}
  adapted: {method: lora, rank: 2, targets: all-linear, dora: true, learning_rate: 1e-2}
"""
PYTHON = "import sys, finetrial\nfinetrial.Trial.load('tiny.yaml').run(progress=False)"


@pytest.mark.parametrize(
    "command",
    [("-m", "finetrial.cli.main", "run", "tiny.yaml"), ("-W", "default", "-c", PYTHON)],
    ids=["command line", "Python, which shows every warning"],
)
def test_a_whole_trial_shows_no_warning_of_a_library(command, tmp_path):
    make_base(tmp_path)
    assert "\narms:\n" in TRIAL
    (tmp_path / "tiny.yaml").write_text(TRIAL.replace("\narms:\n", f"\narms:{MORE}", 1))
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.findall(r".*(?:\wWarning:|deprecated).*", done.stdout + done.stderr) == []
