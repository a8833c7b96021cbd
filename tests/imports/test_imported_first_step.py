"""An imported run begins where the tool's own begins: on the same rows the loss of the first step is the same."""

from __future__ import annotations

import json

import pytest
from tiny_models import save_model

from finetrial.cli.main import dispatch

ROWS = [{"prompt": f"Question {n}: what then?\nAnswer:", "completion": f" the number {n + 1}"} for n in range(24)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("adapter", [True, False])
def test_trl_and_the_imported_arm_have_one_loss_at_the_first_step(tmp_path, monkeypatch, capsys, adapter):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    from peft import LoraConfig

    monkeypatch.chdir(tmp_path)
    save_model("llama", tmp_path / "model")
    (tmp_path / "rows").mkdir()
    for name, part in (("train", ROWS[:8]), ("validation", ROWS[8:16]), ("heldout", ROWS[16:])):
        write(tmp_path / "rows" / f"{name}.jsonl", part)
    arguments = trl.SFTConfig(
        output_dir="theirs",
        per_device_train_batch_size=8,  # all rows: then no order of rows matters
        num_train_epochs=1,
        learning_rate=1e-3,
        seed=3,
        logging_steps=1,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=64,
        save_strategy="no",
    )
    trainer = trl.SFTTrainer(
        model=str(tmp_path / "model"),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(ROWS[:8]),
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]) if adapter else None,
    )
    trainer.train()
    theirs = next(row["loss"] for row in trainer.state.log_history if "loss" in row)
    content = json.loads(arguments.to_json_string())
    if adapter:
        content |= {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_target_modules": ["q_proj", "v_proj"]}
    (tmp_path / "args.json").write_text(json.dumps(content))
    options = ["--model", "./model", "--data", "rows", "--out", "t.yaml"]
    assert dispatch(["import", "args.json", *options]) == 0
    arm = "lora" if adapter else "full"
    # a step of all rows here too: the batch is told in tokens, which the import estimates
    settings = ["--set", "training.batch_tokens=4096", "--set", "training.precision=float32"]
    assert dispatch(["tune", "t.yaml", *settings, "--arm", arm]) == 0, capsys.readouterr().err
    rows = (tmp_path / "runs" / "t" / "arms" / arm / "metrics.jsonl").read_text().splitlines()
    ours = next(row["train_loss"] for row in map(json.loads, rows) if row["train_loss"] is not None)
    assert ours == pytest.approx(theirs, abs=2e-4)  # TRL's log has four digits
