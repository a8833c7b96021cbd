"""`run --on skypilot` writes a task that anybody can read, and runs nothing."""

import yaml
from tiny_trials import TRIAL

from finetrial.cli.main import dispatch


def written(tmp_path, *more):
    (tmp_path / "tiny.yaml").write_text(TRIAL)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    return dispatch(["run", str(tmp_path / "tiny.yaml"), "--on", "skypilot", *more])


def test_the_task_starts_a_ray_cluster_and_runs_the_trial_on_it_from_its_first_machine(tmp_path):
    assert written(tmp_path, "--write", str(tmp_path / "sky.yaml")) == 0
    task = yaml.safe_load((tmp_path / "sky.yaml").read_text())
    assert task["name"] == "tiny" and task["workdir"] == str(tmp_path.resolve()) and task["num_nodes"] == 4
    lines = task["run"].splitlines()
    assert lines[0] == "~/sky_templates/ray/start_cluster"
    assert "finetrial run tiny.yaml --out /finetrial-runs/tiny --on ray" in lines[2]
    assert task["volumes"] == {"/finetrial-runs": "finetrial-tiny"}
    assert "finetrial[tune,ray]==" in task["setup"]
    assert not (tmp_path / "runs").exists()


def test_without_a_file_to_write_and_for_a_folder_one_line_says_so(tmp_path, capsys):
    assert written(tmp_path) == 2
    assert "--on skypilot and --write FILE belong together" in capsys.readouterr().err
    assert dispatch(["run", str(tmp_path / "tiny.yaml"), "--write", str(tmp_path / "sky.yaml")]) == 2
    assert written(tmp_path, "--write", str(tmp_path / "sky.yaml"), "--set", "training.epochs=2") == 2
    assert not (tmp_path / "sky.yaml").exists()
