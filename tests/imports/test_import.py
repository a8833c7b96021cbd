"""Configurations of other tools become trial files that say what they could not carry; none passes for a trial."""

from __future__ import annotations

import json

import pytest
import yaml
from configs import AXOLOTL, LLAMA_FACTORY, MLX, TORCHTUNE, TRL_YAML, UNSLOTH

from finetrial.cli.main import dispatch
from finetrial.imports.given import MACHINERY, SPEED, UNKNOWN
from finetrial.trial.trial_file import load_trial

ROWS = [{"question": f"What follows {n}?", "answer": f"The number {n + 1} follows."} for n in range(40)]
PAIRS = [{"instruction": f"Say {n}", "input": "", "output": f"{n}!"} for n in range(40)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.json").write_text(json.dumps(PAIRS))
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "mine.json"}}))
    (tmp_path / "folder").mkdir()
    for name, part in (("train", ROWS[:24]), ("valid", ROWS[24:32]), ("test", ROWS[32:])):
        rows = [{"prompt": row["question"], "completion": row["answer"]} for row in part]
        (tmp_path / "folder" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def imported(base, capsys, text, *options, name="run.yaml"):
    """The trial file's content, and what `--json` says of the import."""
    (base / name).write_text(text)
    assert dispatch(["import", name, "--out", "t.yaml", "--force", "--json", *options]) == 0, (
        capsys.readouterr().out
    )
    said = json.loads(capsys.readouterr().out)
    load_trial(base / "t.yaml")
    return yaml.safe_load((base / "t.yaml").read_text()), said


def test_llama_factory_with_its_data_set(here, capsys):
    trial, said = imported(here, capsys, LLAMA_FACTORY)
    assert (said["tool"], said["arm"], said["rows"]) == ("LLaMA-Factory", "lora", 32)
    assert trial["model"] == "org/small" and trial["trust_remote_code"] is True
    assert trial["data"]["source"] == "data/mine.json[:32]" and trial["data"]["max_tokens"] == 256
    assert trial["data"]["validation"] == 3  # a tenth of 32
    assert trial["arms"]["base"] == {} and trial["arms"]["prompted"] == {"shots": 3}
    assert trial["arms"]["lora"] == {
        "method": "lora",
        "rank": 4,
        "alpha": 8.0,  # twice the rank where it is not given
        "dropout": 0.0,
        "targets": ["q", "k", "v", "o", "gate", "up", "down"],
        "learning_rate": 1e-4,
        "epochs": 3.0,
    }
    training = trial["training"]
    assert (training["schedule"], training["warmup"], training["precision"]) == ("cosine", 0.1, "bfloat16")
    assert training["seed"] == 42 and training["clip"] == 1.0  # transformers' own
    # "Say 12" and "12!" are about (6 + 3) / 4 tokens; 2 x 4 rows a step
    assert 8 * 2 <= training["batch_tokens"] <= 8 * 4
    assert said["left"] == {
        "neftune_noise_alpha": UNKNOWN,
        **dict.fromkeys(("do_train", "preprocessing_num_workers", "output_dir", "logging_steps"), MACHINERY),
    }
    assert any("qwen3_nothink" in note for note in said["notes"])


def test_axolotl_with_columns_and_a_prompt_of_its_own(here, capsys):
    trial, said = imported(here, capsys, AXOLOTL)
    assert said["tool"] == "Axolotl"
    data = trial["data"]
    assert (data["source"], data["prompt"], data["completion"]) == ("rows.jsonl", "question", "answer")
    assert data["template"] == "{prompt}\nAnswer:" and data["validation"] == 4 and data["max_tokens"] == 128
    arm = trial["arms"]["lora"]
    assert (arm["quantize"], arm["targets"], arm["rank"], arm["alpha"]) == ("nf4", "all-linear", 16, 32.0)
    assert trial["training"]["optimizer"] == "adamw8bit"
    # 40 rows less 4 held out and 4 of validation: 8 steps an epoch of 4 rows, 16 in all
    assert trial["training"]["warmup"] == 4 / 16
    assert said["left"]["sample_packing"] == SPEED and said["left"]["loss_watchdog_threshold"] == MACHINERY
    assert "need no padding" in said["left"]["special_tokens"]


def test_trl_yaml(here, capsys):
    trial, said = imported(here, capsys, TRL_YAML.replace("rows.jsonl", "folder/train.jsonl"))
    assert said["tool"] == "TRL" and said["left"] == {"packing": SPEED}
    arm = trial["arms"]["lora"]
    assert (arm["rank"], arm["alpha"], arm["dropout"], arm["targets"]) == (8, 16.0, 0.05, ["q", "v"])
    # 24 rows less 2 held out and 2 of validation make 5 steps of 4 rows: 20 steps are 4 epochs
    assert arm["epochs"] == 4.0 and trial["training"]["trackers"] == ["tensorboard"]


def test_sftconfig_as_json_names_no_model_and_no_data(here, capsys):
    trl = pytest.importorskip("trl")
    arguments = trl.SFTConfig(output_dir="out", per_device_train_batch_size=2, learning_rate=1e-3, use_cpu=True)
    (here / "args.json").write_text(arguments.to_json_string())
    assert dispatch(["import", "args.json", "--json"]) == 2
    assert "--model" in json.loads(capsys.readouterr().out)["error"]["fix"]
    options = ("--model", "starter", "--data", "folder/train.jsonl")
    trial, said = imported(here, capsys, arguments.to_json_string(), *options, name="args.json")
    assert trial["arms"]["full"]["learning_rate"] == 1e-3 and trial["model"] == "starter"
    assert trial["data"]["source"] == "folder/train.jsonl"
    assert [key for key, why in said["left"].items() if why == UNKNOWN] == []  # all are defaults


def test_torchtune(here, capsys):
    trial, said = imported(here, capsys, TORCHTUNE)
    data, arm = trial["data"], trial["arms"]["lora"]
    assert (data["source"], data["prompt"], data["completion"]) == ("rows.jsonl", "question", "answer")
    assert arm["targets"] == ["q", "v", "o", "gate", "up", "down"] and (arm["rank"], arm["alpha"]) == (64, 128.0)
    assert trial["training"]["clip"] is None and trial["training"]["weight_decay"] == 0.01
    assert trial["training"]["precision"] == "bfloat16" and trial["training"]["warmup"] == 0.5  # 4 of 2 x 4 steps
    assert set(said["left"].values()) == {MACHINERY}


def test_mlx_scales_adapters_by_alpha_over_rank(here, capsys):
    trial, said = imported(here, capsys, MLX)
    assert trial["data"]["source"] == {
        "train": "folder/train.jsonl",
        "validation": "folder/valid.jsonl",
        "heldout": "folder/test.jsonl",
    }
    arm = trial["arms"]["lora"]
    assert arm["alpha"] / arm["rank"] == 20.0 and arm["targets"] == ["q", "v"]
    assert trial["training"]["schedule"] == "constant" and trial["training"]["clip"] is None
    assert arm["epochs"] == pytest.approx(20 / 6, abs=1e-3)  # 24 rows, 4 a step
    assert "every layer is tuned here" in said["left"]["num_layers"]
    assert "prompts carry loss" in said["left"]["mask_prompt"]


@pytest.mark.parametrize("name", ["run.py", "run.ipynb"])
def test_unsloth_scripts_and_notebooks_by_their_plain_arguments(here, capsys, name):
    text = UNSLOTH
    if name.endswith(".ipynb"):
        cells = [{"cell_type": "code", "source": ["!pip install unsloth\n", *UNSLOTH.splitlines(keepends=True)]}]
        text = json.dumps({"cells": [{"cell_type": "markdown", "source": ["# hi"]}, *cells]})
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    trial, said = imported(here, capsys, text, name=name)
    arm = trial["arms"]["lora"]
    assert (arm["rank"], arm["alpha"], arm["targets"], arm["quantize"]) == (16, 16.0, ["q", "k", "v"], "nf4")
    assert trial["training"]["seed"] == 3407 and trial["training"]["optimizer"] == "adamw8bit"
    assert trial["data"]["max_tokens"] == 2048 and trial["data"]["source"] == "rows.jsonl"
    assert arm["epochs"] == 15.0  # 60 steps of 8 of 32 rows: 40 less 4 held out and 4 of validation
    assert said["tool"] == "Unsloth" and "get_peft_model.random_state" in said["left"]


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        (LLAMA_FACTORY, ("stage: sft", "stage: dpo"), "no supervised tuning"),
        (LLAMA_FACTORY, ("finetuning_type: lora", "finetuning_type: freeze"), "no counterpart"),
        (LLAMA_FACTORY, ("dataset: mine", "dataset: mine,other"), "a trial has one source"),
        (LLAMA_FACTORY, ("dataset: mine", "dataset: mime"), "Did you mean 'mine'?"),
        (AXOLOTL, ("adapter: qlora", "adapter: llama-adapter"), "no counterpart"),
        (AXOLOTL, ("val_set_size", "rl: dpo\nval_set_size"), "no supervised tuning"),
        (TORCHTUNE, ("CEWithChunkedOutputLoss", "dpo.DPOLoss"), "no supervised tuning"),
        (MLX, ("train: true", "training_mode: dpo"), "no supervised tuning"),
        ("a: 1\nb: 2\n", ("", ""), "is no configuration that is known here"),
    ],
)
def test_runs_that_a_trial_cannot_hold_are_refused_with_the_reason(here, capsys, text, change, said):
    (here / "run.yaml").write_text(text.replace(*change))
    assert dispatch(["import", "run.yaml"]) == 2
    assert said in capsys.readouterr().err
    assert not (here / "run-trial.yaml").exists()


@pytest.mark.parametrize("text", [LLAMA_FACTORY, AXOLOTL, TRL_YAML, TORCHTUNE, MLX])
@pytest.mark.parametrize("verb", ["check", "run", "plan", "score", "report", "verify", "split", "grade", "clean"])
def test_a_foreign_configuration_given_as_a_trial_is_recognised_by_every_command(here, capsys, text, verb):
    (here / "run.yaml").write_text(text)
    options = ["--out", "elsewhere"] if verb == "split" else []
    assert dispatch([verb, "run.yaml", *options]) == 2
    error = capsys.readouterr().err
    assert "not a trial file" in error and "`finetrial import" in error


def test_a_script_is_no_trial(here, capsys):
    (here / "run.py").write_text(UNSLOTH)
    assert dispatch(["check", "run.py"]) == 2
    assert "is a script, not a trial file" in capsys.readouterr().err


def test_a_trial_file_is_never_taken_for_a_foreign_one(here, capsys):
    imported(here, capsys, AXOLOTL)
    assert dispatch(["import", "t.yaml", "--out", "again.yaml"]) == 2
    assert "is no configuration that is known here" in capsys.readouterr().err


def test_what_is_said_on_the_screen_stands_in_the_file(here, capsys):
    (here / "run.yaml").write_text(AXOLOTL)
    assert dispatch(["import", "run.yaml"]) == 0
    out, text = capsys.readouterr().out, (here / "run-trial.yaml").read_text()
    assert "a run of Axolotl as arm lora, beside base and prompted" in out
    assert max(map(len, out.splitlines())) <= 80
    for key in ("special_tokens", "loss_watchdog_threshold", "sample_packing"):
        assert key in out and key in text
    assert dispatch(["import", "run.yaml"]) == 2 and "is there already" in capsys.readouterr().err
