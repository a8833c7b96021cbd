"""What --set gave a run holds for the commands after it, until it is set anew or the file says otherwise."""

import json

import torch
from tiny_trials import TRIAL, make_base

from finetrial.cli.main import dispatch
from finetrial.trial.folder import open_trial

RANK = "arms.lora.rank=4"


def ranks(base):
    loaded, folder = open_trial(base / "tiny.yaml")
    return loaded.trial.arms["lora"].tuning.rank, loaded.remembered, json.loads(folder.manifest.read_text())["set"]


def test_a_value_is_remembered_until_it_is_set_anew_or_the_file_is_changed(tmp_path, capsys):
    torch.set_num_threads(1)
    make_base(tmp_path)
    file = tmp_path / "tiny.yaml"
    file.write_text(TRIAL)
    command = ["tune", str(file), "--arm", "lora"]
    assert dispatch([*command, "--set", RANK, "--set", "training.epochs=1"]) == 0
    assert "# --set arms.lora.rank=4\n" in (tmp_path / "runs/tiny/trial.yaml").read_text()
    assert ranks(tmp_path)[:2] == (4, (RANK, "training.epochs=1"))
    capsys.readouterr()
    assert dispatch(command) == 0  # without --set: what was run is tuned already
    said = capsys.readouterr().err
    assert "lora: tuned already" in said and f"settings: {RANK}, as --set gave it before" in said
    assert dispatch(["check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remembered"] == [RANK, "training.epochs=1"]
    file.write_text(TRIAL.replace("epochs: 2", "epochs: 3"))  # now the file's value is meant
    assert ranks(tmp_path)[1] == (RANK,)
    file.write_text(TRIAL.replace("rank: 2", "rank: 8"))
    assert ranks(tmp_path)[:2] == (8, ("training.epochs=1",))
    file.write_text(TRIAL)
    assert dispatch([*command, "--set", "arms.lora.rank=2", "--set", "training.epochs=1"]) == 0
    rank, again, held = ranks(tmp_path)
    assert rank == 2 and again == ("training.epochs=1",) and set(held) == {"training.epochs"}


def test_a_value_within_one_that_is_set_anew_does_not_hold(tmp_path):
    torch.set_num_threads(1)
    make_base(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    assert dispatch(["tune", str(tmp_path / "tiny.yaml"), "--arm", "lora", "--set", RANK]) == 0
    loaded, _ = open_trial(tmp_path / "tiny.yaml", overrides=["arms.lora={method: lora, rank: 3}"])
    assert loaded.trial.arms["lora"].tuning.rank == 3 and loaded.remembered == ()
    (tmp_path / "tiny.yaml").write_text(TRIAL.replace("  lora:", "  other:"))
    loaded, _ = open_trial(tmp_path / "tiny.yaml")
    assert "lora" not in loaded.trial.arms  # what the value belonged to is gone
