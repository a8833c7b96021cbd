"""`finetrial footprint train`: the questions of users, asked as they would ask them."""

import json
import subprocess
import sys

import pytest

from finetrial.errors import UserError
from finetrial.footprint.adapters import Full
from finetrial.footprint.beside import Lora
from finetrial.footprint.devices import DEVICES, device_named
from finetrial.footprint.shapes import named_shape
from finetrial.footprint.step_seconds import Rates, price_of, sampling_seconds, step_time
from finetrial.footprint.training_memory import Training

QUESTION = "--model llama-3-8b --method lora --rank 16 --targets all-linear --length 2048"


def ask(line, *, status=0):
    command = [sys.executable, "-m", "finetrial.cli.main", "footprint", "train", *line.split()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == status, result.stdout + result.stderr
    return result.stdout or result.stderr


def answer(line, *, status=0):
    return json.loads(ask(line + " --json", status=status))


def test_lora_on_all_linears_of_llama_3_8b_does_not_fit_24_gb_and_recomputed_it_does():
    found = answer(QUESTION + " --memory 24GB", status=1)
    assert found["fits"] is False and found["needed_bytes"] > 24e9
    assert found["parts"]["weights"] == 2 * 8_030_261_248
    assert sum(found["parts"].values()) == found["peak_bytes"] <= found["reserved_bytes"]
    assert [c["change"] for c in found["changes"] if c["fits"]] == [
        "--checkpointing",
        "--quantize nf4",
        "--optimizer adamw8bit",
    ]
    changed = answer(QUESTION + " --memory 24GB --checkpointing")
    assert changed["fits"] is True and changed["changes"] == []
    (change,) = (c for c in found["changes"] if c["change"] == "--checkpointing")
    assert change["needed_bytes"] == changed["needed_bytes"]
    assert change["saved_bytes"] == found["needed_bytes"] - changed["needed_bytes"]


def test_the_table_says_what_is_asked():
    text = ask(QUESTION + " --memory 24GB", status=1)
    assert "16,060,522,496" in text and "It does not fit" in text and "--quantize nf4" in text


@pytest.mark.parametrize(
    "line",
    [
        QUESTION + " --memory 24GB --explain",
        "--model mixtral-8x22b --method full --length 1024 --micro-batch 4 --device h100 --tokens 1B --explain",
    ],
)
def test_every_line_fits_80_columns(line):
    text = ask(line, status=1)
    assert "It does not fit" in text and "= sum of what stands then" in text
    assert [row for row in text.splitlines() if len(row) > 80] == []


def test_where_training_alone_would_fit_the_verdict_says_what_does_not():
    # training on four bits needs 54 GiB, sampling holds the base at bfloat16: more than 80
    line = "--model llama-3-70b --rank 4 --targets q,v --length 1024 --quantize nf4 --memory 80GiB"
    found = answer(line, status=1)
    assert found["fits"] is False
    assert found["peak_bytes"] + found["overhead_bytes"] < found["memory_bytes"] < found["sampling_bytes"]
    assert "in sampling. Training alone needs" in " ".join(ask(line, status=1).split())


def test_a_quantised_base_on_a_card_with_its_time_and_price():
    found = answer(
        "--model llama-3-8b --method lora --rank 8 --targets q,v --length 512 --quantize nf4 "
        "--device rtx-4090 --tokens 10M --hour 0.5"
    )
    assert found["fits"] is True and found["memory_bytes"] == 24 * 2**30
    run = found["time"]["run"]
    assert found["time"]["is_rough"] is True
    assert run["money"] == pytest.approx(0.5 * run["seconds"] / 3600)
    assert run["kilowatt_hours"] == pytest.approx(450 * run["seconds"] / 3.6e6)


def test_without_a_device_the_need_is_said_and_nothing_is_judged():
    found = answer("--model gpt2 --method full --length 256")
    assert found["fits"] is None and found["memory_bytes"] is None and found["sequences_at_once"] is None


def test_a_cpu_counts_the_process():
    found = answer("--model gpt2 --method full --length 256 --device cpu --memory 16GiB")
    assert found["reserved_bytes"] is None and found["fits"] is True


def test_a_configuration_file_answers(tmp_path):
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config |= {"intermediate_size": 128, "vocab_size": 512}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    assert answer(f"--model {file} --rank 4 --targets q --length 32 --memory 4GB")["fits"] is True


def test_a_gguf_file_answers(real_model):
    found = answer(f"--model {real_model} --method full --length 512 --memory 4GB --loss-share 20%")
    assert found["trained_parameters"] == 134_515_008 and found["fits"] is True


def test_explain_derives_every_part_and_adds_up():
    text = ask(QUESTION + " --explain")
    assert "Hu et al. 2021, section 4.2" in text and "Dettmers" not in text
    found = answer(QUESTION + " --explain")
    steps = {step["what"]: step["result"] for step in found["explanation"]}
    peak = next(result for what, result in steps.items() if what.startswith("the peak"))
    assert int(peak.replace(",", "")) == found["peak_bytes"]
    assert r"\begin{align*}" in ask(QUESTION + " --explain --format latex")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--length 128", "needs a model"),
        ("--model gpt2", "length"),
        ("--model gpt2 --length 128 --rank 4", "targets"),
        ("--model gpt2 --length 128 --targets q", "rank"),
        ("--model gpt2 --length 128 --rank 4 --targets gate", "c_attn"),
        ("--model gpt2 --length 128 --rank 4 --targets q --device rtx-9090", "rtx-4090"),
        ("--model gpt2 --length 2000 --rank 4 --targets q", "1024"),
        ("--model gpt2 --length 128 --method full --quantize nf4", "frozen base"),
        ("--model gpt2 --length 128 --method full --device cpu --optimizer adamw8bit", "CUDA"),
        ("--model gpt2 --length 128 --method full --dtype int8", "floating-point"),
        ("--model gpt2 --length 128 --method full --tokens 1M", "--device"),
        ("--model gpt-2-huge --length 128 --method full", "gpt2"),
    ],
)
def test_what_cannot_be_answered_is_an_error_that_says_how(line, message):
    found = answer(line, status=2)["error"]
    assert message in " ".join(str(part) for part in found.values())


def test_every_device_has_a_source_and_sensible_figures():
    assert len(DEVICES) >= 15
    for row in DEVICES.values():
        assert row.source and row.link_source and 1e10 < row.link < row.bandwidth
        assert 8e9 < row.memory_bytes < 3e11
        assert 1e13 < row.matrix_flops < 1e16 and 1e11 < row.bandwidth < 1e13 and 50 < row.watts < 1500
    assert device_named("NVIDIA RTX 4090") is DEVICES["rtx-4090"]
    with pytest.raises(UserError, match="a100-80gb"):
        device_named("a100")


def test_seconds_of_a_step_by_hand():
    # 1e12 FLOPs a second, 1e9 bytes a second; gpt2 full at float32: traffic 32 bytes a parameter
    rates = Rates(step_flops=1e12, bandwidth=1e9, is_rough=False, source="by hand")
    shape = named_shape("gpt2")
    training = Training(method=Full(), length=100, rows=2, dtype="float32", device="cpu")
    time = step_time(shape, training, rates=rates)
    assert time.tokens == 200 and time.micro_batch_seconds == time.flops / 1e12
    assert time.optimizer_seconds == pytest.approx(124_439_808 * 32 / 1e9)
    # two micro-batches share one optimizer's step
    assert time.tokens_per_second(micro_batches=2) == pytest.approx(
        400 / (2 * time.micro_batch_seconds + time.optimizer_seconds)
    )
    # roughly 6 N a token
    assert 0.9 < time.flops / (6 * 124e6 * 200) < 1.2


def test_adapters_move_little_and_recomputation_costs_a_forward_pass_more():
    rates = Rates(step_flops=1e12, bandwidth=1e9, is_rough=False, source="by hand")
    shape = named_shape("gpt2")
    lora = Training(method=Lora(rank=4, targets=("q", "v")), length=100)
    again = Training(method=Lora(rank=4, targets=("q", "v")), length=100, checkpointing=True)
    one, two = (step_time(shape, training, rates=rates) for training in (lora, again))
    assert one.optimizer_seconds == two.optimizer_seconds == pytest.approx(147_456 * 34 / 1e9)
    assert 1.3 < two.flops / one.flops < 1.6  # 4 N to 6 N, the head apart


def test_a_decoding_step_reads_the_weights_once_for_all_its_sequences():
    rates = Rates(step_flops=1e30, bandwidth=1e9, is_rough=False, source="by hand")
    shape = named_shape("gpt2")
    common = {"prompt_tokens": 10, "new_tokens": 10, "prompts": 8, "per_prompt": 1, "dtype_bytes": 2}
    eight = sampling_seconds(shape, batch=8, rates=rates, **common)
    four = sampling_seconds(shape, batch=4, rates=rates, **common)
    assert four - eight == pytest.approx(10 * 2 * 124_439_808 / 1e9)


def test_energy_and_money():
    price = price_of(7200, watts=500, hour=2.0)
    assert (price.kilowatt_hours, price.money) == (1.0, 4.0)
    assert price_of(60).money is None


def test_eight_cards_hold_a_model_that_one_does_not():
    line = "--model llama-2-7b --method full --length 1024 --checkpointing --device rtx-4090"
    alone = answer(line, status=1)
    assert (
        alone["devices"] == 1 and alone["changes"][-1]["change"] == "--devices 8" and alone["changes"][-1]["fits"]
    )
    eight = answer(line + " --devices 8")
    assert (eight["devices"], eight["sharded"], eight["fits"]) == (8, True, True)
    # 8 divides every first dimension of the model: an eighth of 4 bytes a parameter, and of 8
    assert eight["parts"]["float32 masters"] == 6_738_415_616 * 4 // 8
    assert eight["parts"]["optimizer states"] == 6_738_415_616 * 8 // 8
    assert sum(eight["parts"].values()) == eight["peak_bytes"]
    time = eight["time"]
    assert time["pass_link_seconds"] > 0 and time["step_link_seconds"] == 0 and "PCIe" in time["link_source"]
    seconds = time["micro_batch_seconds"] + time["optimizer_seconds"] + time["pass_link_seconds"]
    assert time["tokens_per_second"] == pytest.approx(8 * 1024 / seconds)
    text = ask(line + " --devices 8 --explain")
    assert "8 devices share out what is trained" in " ".join(text.split()) and "seconds of sending" in text
    assert all(len(line) <= 80 for line in text.splitlines())
