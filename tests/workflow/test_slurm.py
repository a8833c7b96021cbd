"""Jobs that submitit hands in end in the files of any run; a job that dies is handed in again."""

import os
import signal
import threading
import time

import pytest
from tiny_trials import TRIAL, Lines, make_base

from finetrial.api.trial import Trial
from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.workflow.executor_table import executor_at
from finetrial.workflow.remote_log import read_events


def kill_the_process_of_a_checkpoint(folder, killed):
    deadline = time.monotonic() + 500
    while time.monotonic() < deadline and not killed:
        if folder.checkpoint("lora").joinpath("current").exists():
            events, _ = read_events(folder.log("tune:lora"))
            for event in events:
                if "process" in event:
                    os.kill(event["process"], signal.SIGKILL)
                    killed.append(event["process"])
                    return
        time.sleep(0.01)


def test_a_job_that_is_killed_is_handed_in_again_and_goes_on_from_its_checkpoint(tmp_path):
    pytest.importorskip("submitit", reason="NOT TESTED: submitit is not installed")
    make_base(tmp_path)
    text = TRIAL[: TRIAL.index("arms:")] + "arms:\n  lora: {method: lora, targets: [q, v], learning_rate: 1e-2}\n"
    text += "training: {epochs: 8, batch_tokens: 128, precision: float32, evaluations: 1, checkpoint_seconds: 0.2}"
    text += "\nsampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}\njudging: {grade_prompts: 2}\n"
    (tmp_path / "tiny.yaml").write_text(text)
    folder, lines, killed = TrialFolder(tmp_path / "there"), Lines(), []
    killer = threading.Thread(target=kill_the_process_of_a_checkpoint, args=(folder, killed))
    killer.start()
    result = Trial.load(tmp_path / "tiny.yaml", folder=folder.root).run(on="slurm://local", progress=lines)
    killer.join()
    said = lines.take()
    assert len(killed) == 1 and result.failures == {}
    assert any(line.startswith("lora: begun again on ") for line in said)
    assert any(line.startswith("lora: goes on from step ") for line in said)
    assert Trial.load(folder.root).verify().holds
    here = TrialFolder(tmp_path / "here")
    Trial.load(tmp_path / "tiny.yaml", folder=here.root).run(progress=False)
    files = [one.arm("lora") / "adapter_model.safetensors" for one in (here, folder)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_without_slurm_and_with_wrong_settings_one_line_says_so(tmp_path):
    pytest.importorskip("submitit", reason="NOT TESTED: submitit is not installed")
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    trial = Trial.load(tmp_path / "tiny.yaml", folder=tmp_path / "run")
    with pytest.raises(UserError, match="--on slurm://partition=gpu cannot be had"):
        trial.run(on="slurm://partition=gpu", arms=["base"], progress=False)
    assert executor_at("slurm://partition=gpu").address == "partition=gpu"
