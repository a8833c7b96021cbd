"""Tuning that is killed (SIGKILL, real processes) ends with the bits of a run that nobody stopped.

benchmarks/kills.py does it 30 times; docs/results/kills.md has its counts.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from finetrial.training.checkpoint import Checkpoint, read_checkpoint, remove_checkpoint, write_checkpoint

ROOT = Path(__file__).parents[2]


def test_arms_that_are_killed_six_times_end_bit_for_bit_equal():
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "6", "--steps", "10", "--seed", "1", "--json"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert found.returncode == 0, found.stderr
    arms = json.loads(found.stdout)
    kills = [kill for arm in arms for kill in arm["kills"]]
    assert len(kills) == 6
    assert sum(kill["writing"] for kill in kills) >= 1
    assert {arm["arm"] for arm in arms} >= {"full", "lora"}
    assert all(arm["equal"] and arm["steps"] > 5 for arm in arms)


def test_only_a_write_that_this_process_began_counts_as_hit(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    killing = importlib.import_module("benchmarks.killing")
    task = killing.make_tasks(tmp_path, base="none", steps=2)[0]
    root = task.folder / "checkpoint"
    (root / "step-3-a").mkdir(parents=True)
    (root / "step-4-b").mkdir()  # left by an earlier kill
    (root / "current").write_text("step-3-a")
    before = killing.checkpoint_names(task)
    assert before == {"step-3-a", "step-4-b"}
    assert not killing.half_written(task, before), "an earlier kill's debris"
    (root / "step-4-c").mkdir()
    assert killing.half_written(task, before)
    (root / "current").write_text("step-4-c")
    assert not killing.half_written(task, before), "it is whole"
    (task.folder / "model.safetensors").touch()
    (root / "step-5-d").mkdir()
    assert killing.half_written(task, before)
    (root / "current").unlink()
    assert not killing.half_written(task, before), "a finished run removes its checkpoint"


def test_a_kill_while_a_finished_run_removes_its_checkpoint_leaves_no_half_one(tmp_path, monkeypatch):
    root = tmp_path / "checkpoint"
    write_checkpoint(root, Checkpoint({"step": 3, "fingerprint": "a"}, {"x": torch.zeros(2)}))

    def killed_after_one_file(folder, **_):
        next(Path(folder).glob("step-3-*/state.pt")).unlink()
        raise SystemExit

    monkeypatch.setattr("finetrial.training.checkpoint.shutil.rmtree", killed_after_one_file)
    with pytest.raises(SystemExit):
        remove_checkpoint(root)
    assert read_checkpoint(root, fingerprint="a") is None
