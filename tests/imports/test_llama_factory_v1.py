"""LLaMA-Factory's v1 form is carried over with its own defaults; what it cannot be is named."""

import json

import pytest
import yaml

from finetrial.cli.main import dispatch

ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(40)]
SFT = """\
model: gpt2
model_class: llm
peft_config: {name: lora, r: 16, lora_alpha: 32, target_modules: "q_proj,v_proj"}
kernel_config: {name: auto}
dist_config: {name: fsdp2}
train_dataset: data/rows.yaml
output_dir: outputs/x
micro_batch_size: 2
global_batch_size: 8
cutoff_len: 256
max_steps: 10
sample_backend: hf
"""


def imported(folder, capsys, text, *more):
    """The trial that comes out, and what was left with its reasons."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    described = {"rows": {"path": "data/rows.jsonl", "source": "local", "converter": "alpaca", "size": 20}}
    (folder / "data" / "rows.yaml").write_text(yaml.safe_dump(described))
    (folder / "v1.yaml").write_text(text)
    status = dispatch(["import", str(folder / "v1.yaml"), "--out", str(folder / "t.yaml"), "--json", *more])
    said = json.loads(capsys.readouterr().out)
    return status, said, yaml.safe_load((folder / "t.yaml").read_text()) if status == 0 else None


def test_a_lora_run_is_carried_over_with_its_defaults(tmp_path, capsys):
    status, said, trial = imported(tmp_path, capsys, SFT)
    assert status == 0
    arm, training = trial["arms"]["lora"], trial["training"]
    assert (arm["rank"], arm["alpha"], arm["dropout"], arm["targets"]) == (16, 32, 0.05, ["q", "v"])
    assert arm["learning_rate"] == pytest.approx(1e-4)
    # no plugin: the rate stays, and torch's AdamW decays by 0.01
    assert (training["schedule"], training["weight_decay"], training["precision"]) == ("constant", 0.01, "bfloat16")
    assert training["seed"] == 42 and training["clip"] == 1.0
    assert trial["data"]["max_tokens"] == 256
    # ten steps of eight rows, of those that are left to tune on
    kept = 40 - sum(trial["data"].get(key, 0) for key in ("validation", "heldout"))
    assert arm["epochs"] == pytest.approx(80 / kept, rel=0.3)
    left = " ".join(said["left"])
    for key in ("kernel_config", "dist_config", "sample_backend", "rows.size", "output_dir"):
        assert key in left, key


def test_without_peft_every_weight_is_tuned_and_an_unknown_optimizer_is_named(tmp_path, capsys):
    text = "model: gpt2\nmodel_class: llm\ntrain_dataset: data/rows.yaml\nmicro_batch_size: 2\n"
    text += "optim_config: {name: muon, wd: 0.1}\nlr_scheduler_config: {name: cosine, warmup_ratio: 0.1}\n"
    status, said, trial = imported(tmp_path, capsys, text)
    assert status == 0
    assert trial["arms"]["full"]["epochs"] == 3
    assert (trial["training"]["schedule"], trial["training"]["warmup"]) == ("cosine", 0.1)
    assert "muon" in said["left"]["optim_config.name"] and "optim_config.wd" in said["left"]


def test_four_bits_are_carried_over_and_eight_are_named(tmp_path, capsys):
    for bits, quantize in ((4, "nf4"), (8, None)):
        text = SFT + f"quant_config: {{name: bnb, quantization_bit: {bits}}}\n"
        status, said, trial = imported(tmp_path, capsys, text, "--force")
        assert status == 0 and trial["arms"]["lora"].get("quantize") == quantize
        assert ("quant_config" in said["left"]) == (quantize is None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SFT.replace("name: lora", "name: freeze"), "freeze has no counterpart"),
        (SFT + "pref_loss: sigmoid\n", "no supervised tuning"),
        (SFT.replace("model_class: llm", "model_class: cls"), "no supervised tuning"),
        (SFT.replace("data/rows.yaml", "data/none.yaml"), "names no data that a trial reads"),
    ],
)
def test_what_it_cannot_be_is_named(tmp_path, capsys, text, said):
    status, answer, _ = imported(tmp_path, capsys, text)
    assert status == 2 and said in answer["error"]["what"]
