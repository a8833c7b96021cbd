"""The demo, cut down: the shipped starter goes from its rows to a report that says where its texts come from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from finetrial.starter.corpus import write_demo
from finetrial.store.hashes import hash_file
from finetrial.trial.trial_file import STARTER_FOLDER

SMALL = [
    "data.train=96",
    "data.validation=16",
    "data.heldout=12",
    "training.batch_tokens=2048",
    "sampling.prompts=12",
    "sampling.max_new_tokens=12",
]


@pytest.mark.parametrize("task", ["tldr", "verse"])
def test_a_cut_down_demo_ends_with_its_table_and_report(task, tmp_path):
    overrides = [part for value in SMALL for part in ("--set", value)]
    command = [sys.executable, "-m", "finetrial.cli.main", "demo", "--task", task, "--out", str(tmp_path), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *overrides], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["failures"] == {}
    means = {arm: row["mean"] for arm, row in told["results"]["metrics"]["rouge1"].items()}
    assert set(means) == {"base", "full", "lora"} and all(0 <= mean <= 1 for mean in means.values())
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "written by a program" in page
    assert "await" in page, "the prompts set aside for grading are named and not shown"


def test_the_demos_rows_are_the_same_bytes_every_time_and_its_splits_share_no_prompt(tmp_path):
    for task in ("tldr", "verse"):
        write_demo(tmp_path / "a", task=task)
        write_demo(tmp_path / "b", task=task)
        prompts = {}
        for split in ("train", "validation", "heldout"):
            name = f"{task}_{split}.jsonl"
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
            rows = [json.loads(line) for line in (tmp_path / "a" / name).read_text().splitlines()]
            prompts[split] = {row["prompt"] for row in rows}
            assert len(prompts[split]) == len(rows) >= 60
        assert not prompts["train"] & prompts["heldout"] and not prompts["train"] & prompts["validation"]


def test_the_shipped_weights_are_those_of_the_manifest_and_small(tmp_path):
    manifest = json.loads((STARTER_FOLDER / "manifest.json").read_text())
    assert manifest["written_by_program"] is True
    assert hash_file(STARTER_FOLDER / "model.safetensors") == manifest["weights_sha256"]
    assert 1_500_000 <= manifest["parameters"] <= 3_000_000
    assert sum(p.stat().st_size for p in STARTER_FOLDER.iterdir()) <= 12_000_000
