"""Exporting an arm: one merged model that transformers alone loads."""

import pytest
import torch
from arm_loading import load_arm
from tiny_models import make_examples, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from finetrial.cli.export import app
from finetrial.errors import UserError
from finetrial.methods.lora.lora_method import Lora
from finetrial.models.export_folder import export_arm
from finetrial.store.layout import TrialFolder
from finetrial.training.loop import tune
from finetrial.training.task import TuneTask

IDS = torch.arange(1, 20)[None]


@pytest.fixture
def trial(tmp_path):
    base = save_model("gpt2", tmp_path / "base")
    folder = TrialFolder(tmp_path / "runs" / "tiny")
    task = TuneTask(
        model=base,
        train=make_examples(10),
        folder=folder.arm("lora"),
        method=Lora(rank=2, targets=("q", "v"), alpha=4.0),
        special_tokens=("<complete>",),
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
    )
    tune(task)
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "trial: tiny\nmodel: ./base\ndata: {source: d.jsonl}\n"
        "arms:\n  base: {}\n  lora: {method: lora, rank: 2}\n  full: {method: full}\n"
    )
    return file, task


def test_the_exported_model_gives_the_arm_s_logits(trial, tmp_path):
    file, task = trial
    result = CliRunner().invoke(app, [str(file), "lora", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found, expected = stock(IDS).logits, load_arm(task.model, folder=task.folder)(IDS).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer("<complete>")["input_ids"]) == 1
    assert not list((tmp_path / "out").glob("adapter*"))


def test_the_base_can_be_exported_in_another_precision(trial, tmp_path):
    file, _ = trial
    options = ["--out", str(tmp_path / "out"), "--precision", "bfloat16", "--json"]
    assert CliRunner().invoke(app, [str(file), "base", *options]).exit_code == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "unknown arm"),
        (["full"], "not tuned yet"),
        (["lora", "--precision", "int8"], "unknown precision"),
    ],
)
def test_what_a_user_can_mend_is_one_line(arguments, message, trial, tmp_path):
    file, _ = trial
    result = CliRunner().invoke(app, [str(file), *arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError) and message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(trial, tmp_path):
    _, task = trial
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="is not empty"):
        export_arm(task.model, out=tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
