"""What a user reads when the disk fills up while an arm is tuned, and what the same command then does."""

import errno
import os

import torch
from tiny_trials import make_base

from finetrial.cli.main import dispatch
from finetrial.store.layout import TrialFolder
from finetrial.store.records import TrainingPoint, read_rows

TRIAL = """\
trial: tiny
model: ./model
data: {source: rows.jsonl, template: "{prompt}\\nTL;DR:", max_tokens: 64, validation: 8, heldout: 10}
arms:
  base:
  full: {method: full, learning_rate: 3e-3}
  lora: {method: lora, rank: 2, learning_rate: 1e-2}
training: {epochs: 2, batch_tokens: 256, precision: float32, evaluations: 2, checkpoint_seconds: 0}
sampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}
"""


def rows(folder, arm):
    return [(p.step, p.train_loss, p.validation_loss) for p in read_rows(folder.metrics(arm), TrainingPoint)]


def test_a_full_disk_stops_the_run_in_one_line_and_the_same_command_continues_it(tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    whole, stopped = (TrialFolder(tmp_path / name) for name in ("whole", "stopped"))
    tune = lambda folder: dispatch(["tune", str(tmp_path / "tiny.yaml"), "--out", str(folder.root)])
    assert tune(whole) == 0
    save, steps = torch.save, []

    def fills_up(content, stream):
        steps.append(len(steps) + 1)
        if len(steps) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what torch.save raises on /dev/full
        save(content, stream)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fills_up)
        capsys.readouterr()
        assert tune(stopped) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert line.startswith("error: the disk is full while writing ")
    assert line.endswith("Free some space and run the same command again.")
    assert not stopped.arm("lora").exists(), "the next arm, which would find the disk full too, is not begun"
    assert (stopped.arm("full") / "checkpoint" / "current").read_text().startswith("step-3-")

    continued = []
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", lambda content, stream: continued.append(1) or save(content, stream))
        assert tune(stopped) == 0
    for arm in ("full", "lora"):
        assert rows(stopped, arm) == rows(whole, arm) and len(rows(whole, arm)) > 8
        (one,), (other,) = (sorted(folder.arm(arm).glob("*.safetensors")) for folder in (stopped, whole))
        assert one.read_bytes() == other.read_bytes(), arm
    # a checkpoint follows every step but is not written for the three steps that were done
    assert len(continued) == rows(whole, "full")[-1][0] + rows(whole, "lora")[-1][0] - 3
