"""An arm whose sampling is killed goes on where it stopped: no sample is lost and none is drawn twice."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tiny_trials import TRIAL, Lines, make_base

from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.partial_samples import PartialSamples, partial_samples
from finetrial.store.records import Sample, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

MANY = ("--set", "sampling.per_prompt=40", "--set", "sampling.max_new_tokens=24", "--arm", "base")


def lines_of(path):
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


class Stops(Lines):
    """Interrupts the sampling of an arm when so many samples are done."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def step(self, label, *, done, total, detail="", seconds_left=None):
        if done >= self.at:
            raise KeyboardInterrupt


def test_an_arm_that_was_interrupted_keeps_its_samples_and_draws_the_others(tmp_path):
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    loaded = load_trial(tmp_path / "tiny.yaml", overrides=["sampling.per_prompt=60"])  # more than at once
    whole, stopped = (TrialFolder(tmp_path / name) for name in ("whole", "stopped"))
    run_trial(TrialContext(loaded, whole, listener=Lines(), only=("base",)))
    with pytest.raises(KeyboardInterrupt):
        run_trial(TrialContext(loaded, stopped, listener=Stops(30), only=("base",)))
    drawn = len(lines_of(stopped.partial_samples("base"))) - 1
    assert 30 <= drawn < 360
    lines = Lines()
    run_trial(TrialContext(loaded, stopped, listener=lines, only=("base",)))
    assert any(f"{drawn} samples were drawn before and are kept" in line for line in lines.lines)
    rows, expected = (list(read_rows(f.samples("base"), Sample)) for f in (stopped, whole))
    assert [(s.id, s.token_ids) for s in rows] == [(s.id, s.token_ids) for s in expected] and len(rows) == 360


@pytest.mark.long
def test_sampling_that_is_killed_twice_ends_as_one_that_was_not(tmp_path):
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    command = [sys.executable, "-m", "finetrial.cli.main", "sample", str(tmp_path / "tiny.yaml"), *MANY, "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    folder = TrialFolder(tmp_path / "killed")
    partial = folder.partial_samples("base")
    before = []
    for least in (30, 130):
        process = subprocess.Popen([*command, str(folder.root)], env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 90
        while len(lines_of(partial)) < least:
            assert time.monotonic() < deadline and process.poll() is None, "it ended before it could be killed"
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not folder.samples("base").exists()
        there = lines_of(partial)
        assert there[: len(before)] == before, "what was drawn before stands as it was"
        before = there
    drawn = [json.loads(line)["id"] for line in before[1:]]
    assert len(drawn) == len(set(drawn)) >= 129
    done = subprocess.run([*command, str(folder.root)], check=True, env=environment, capture_output=True, text=True)
    assert f"{len(drawn):,} samples were drawn before and are kept" in done.stderr
    assert not partial.exists()
    rows, expected = (list(read_rows(f.samples("base"), Sample)) for f in (folder, TrialFolder(tmp_path / "whole")))
    assert len(rows) == len(expected) >= 200
    assert [(s.id, s.token_ids, s.text) for s in rows] == [(s.id, s.token_ids, s.text) for s in expected]


def sample(number):
    return Sample(
        f"base/p/{number}", "p", None, "base", number, "shown", "said", (1, 2), (), "length", -1.5, 2, 0.1, 7
    )


def test_half_a_line_is_taken_off_and_samples_of_other_settings_are_not_continued(tmp_path):
    path = tmp_path / "samples" / "base.partial.jsonl"
    first = PartialSamples(path, drawn_with="these")
    assert first.add(sample(0)) and first.add(sample(1)) and not first.add(sample(0))
    first.close()
    with path.open("ab") as stream:
        stream.write(b'{"id": "base/p/2", "prom')
    again = PartialSamples(path, drawn_with="these")
    assert list(again.samples) == ["base/p/0", "base/p/1"] and again.samples["base/p/1"] == sample(1)
    assert again.add(sample(2))
    again.close()
    assert len(lines_of(path)) == 4 and list(PartialSamples(path, drawn_with="these").samples) == [
        f"base/p/{i}" for i in range(3)
    ]
    assert PartialSamples(path, drawn_with="others").samples == {}


def test_what_was_drawn_stays_where_an_error_ends_the_arm_and_goes_where_it_is_whole(tmp_path):
    path = tmp_path / "base.partial.jsonl"
    with pytest.raises(UserError), partial_samples(path, drawn_with="x") as partial:
        partial.add(sample(0))
        raise UserError("memory ran out")
    with partial_samples(path, drawn_with="x") as partial:
        assert list(partial.samples) == ["base/p/0"]
    assert not path.exists()
