"""What people ask before they begin is one command each, and the answer is right."""

import json

import pytest

from finetrial.cli.main import dispatch
from finetrial.starter.corpus import write_demo

LORA = ["--model", "llama-3-8b", "--method", "lora", "--rank", "16", "--targets", "all-linear", "--length", "2048"]


def ask(capsys, *words, status=0):
    assert dispatch([*map(str, words), "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_lora_of_rank_16_on_all_linear_layers_of_llama_3_8b_on_a_24_gb_card(capsys):
    found = ask(capsys, "footprint", "train", *LORA, "--memory", "24GB", status=1)
    # 32 layers, rank 16: q and o 2 x 8192, k and v 2 x 5120, gate, up and down 3 x 18432: 32 x 16 x 81,920
    assert found["trained_parameters"] == 41_943_040
    assert found["fits"] is False and found["memory_bytes"] == 24_000_000_000
    fitting = [change["change"] for change in found["changes"] if change["fits"]]
    assert "--checkpointing" in fitting and "--quantize nf4" in fitting
    for words in (["--checkpointing"], ["--quantize", "nf4"]):
        assert ask(capsys, "footprint", "train", *LORA, "--memory", "24GB", *words)["fits"] is True


def test_how_many_tokens_for_1b_parameters_at_1e21_flops(capsys):
    found = ask(capsys, "scale", "tokens", "--params", "1B", "--flops", "1e21")
    assert found["tokens_processed"] == pytest.approx(1e21 / (6 * 1e9))


def test_hours_and_dollars_on_my_gpu(capsys):
    card = ["--quantize", "nf4", "--device", "rtx-4090", "--tokens", "10M", "--hour", "0.4"]
    found = ask(capsys, "footprint", "train", *LORA, *card)
    time, run = found["time"], found["time"]["run"]
    assert run["seconds"] == pytest.approx(1e7 / time["tokens_per_second"])
    # between a step of one micro-batch of 2,048 tokens and one whose optimizer costs nothing
    with_optimizer = 2048 / (time["micro_batch_seconds"] + time["optimizer_seconds"])
    assert with_optimizer <= time["tokens_per_second"] <= 2048 / time["micro_batch_seconds"]
    # about two passes of 2 N FLOPs a token and the adapters' own: 4 x 8.03e9 x 2048 = 6.6e13
    assert time["flops"] == pytest.approx(4 * 8.03e9 * 2048, rel=0.05)
    assert run["money"] == pytest.approx(0.4 * run["seconds"] / 3600) and time["is_rough"] is True


def test_how_many_prompts_do_i_need(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FINETRIAL_CACHE", str(tmp_path / "cache"))
    trial = write_demo(tmp_path, task="tldr")
    auto = ["--set", "judging.grade_prompts=auto"]
    grading = ask(capsys, "plan", trial, "--memory", "24GiB", *auto)["grading"]
    # three arms of three samples: (z at .05 / 3 + z.8)^2 (1/4 + 1/4) / 3 / 0.2^2 = 43.6; of 60 prompts
    assert (grading["units_needed"], grading["prompts"], grading["samples"]) == (44, 44, 44 * 9)
    assert grading["least_p"] < 0.05
    finer = ask(capsys, "plan", trial, "--memory", "24GiB", *auto, "--set", "judging.difference=0.1")["grading"]
    assert (finer["units_needed"], finer["prompts"]) == (175, 60)
    text = dispatch(["plan", str(trial), "--memory", "24GiB"])
    assert text == 0 and "44 prompts find a true difference of 20 points" in capsys.readouterr().out
