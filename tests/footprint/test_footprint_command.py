"""`finetrial footprint` as a process: its figures, its one object of JSON, its errors in one line, its speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from processor_time import taken_and_allowed

HEAVY = ("torch", "transformers", "scipy", "numpy", "matplotlib", "finetrial.scaling", "huggingface_hub")


def run(command: str, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `finetrial footprint` with the words of `command`, then `more` as they stand."""
    return subprocess.run(
        [sys.executable, "-m", "finetrial.cli.main", "footprint", *command.split(), *more],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def result(command: str, *more: str) -> dict:
    done = run(command, *more, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def failure(command: str, *more: str, **environment: str) -> tuple[int, str]:
    """The exit status and the one line on standard error; the same error stands in the JSON."""
    done = run(command, *more, **environment)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
    as_json = run(command, *more, "--json", **environment)
    assert as_json.returncode == done.returncode
    assert json.loads(as_json.stdout)["error"]["what"] in done.stderr
    return done.returncode, done.stderr


class TestGpt3:
    """REFERENCES, through the command."""

    def test_full_copies_counted_and_published(self):
        answer = result("storage --model", "gpt3-175b", "--copies", "100")
        assert answer["params_stored"] == 174_604_259_328
        assert round(answer["bytes_per_copy"] / 2**30, 2) == 325.23
        published = answer["published"]
        assert (published["params_stored"], published["bytes_per_copy"]) == (175e9, 3.5e11)
        assert (published["bytes_total"], round(published["bytes_total"] / 2**40, 2)) == (3.5e13, 31.83)

    def test_params_are_taken_as_given(self):
        answer = result("storage", "--params", "175B", "--copies", "100")
        assert (answer["params_stored"], answer["bytes_per_copy"], answer["bytes_total"]) == (175e9, 3.5e11, 3.5e13)
        assert answer["published"] is None

    def test_matrices_of_query_and_value(self):
        answer = result(
            *["storage", "--model", "gpt3-175b", "--method", "matrices", "--targets", "q,v", "--copies", "100"]
        )
        assert (answer["params_stored"], answer["bytes_per_copy"]) == (28_991_029_248, 54 * 2**30)
        assert round(answer["bytes_total"] / 2**40, 2) == 5.27

    def test_lora_of_rank_4(self):
        answer = result(
            *[
                "storage",
                "--model",
                "gpt3-175b",
                "--method",
                "lora",
                "--targets",
                "q,v",
                "--rank",
                "4",
                "--copies",
                "100",
            ]
        )
        assert answer["bytes_per_copy"] == 37_748_736
        assert round(answer["bytes_total"] / 2**30, 3) == 3.516
        assert answer["bytes_base"] == 2 * 174_604_259_328

    def test_the_rank_that_fits_the_same_bytes_on_query_alone(self):
        answer = result("rank --model gpt3-175b --targets q --budget 36MiB")
        assert (answer["rank"], answer["bytes_per_copy"]) == (8, 37_748_736)

    def test_the_text_shows_both_figures_in_both_units(self):
        text = run("storage --model", "gpt3-175b", "--copies", "100").stdout
        for part in (
            "174,604,259,328",
            "175,000,000,000",
            "349.2 GB = 325.2 GiB",
            "35 TB = 31.83 TiB",
            "Brown et al.",
        ):
            assert part in text
        assert max(map(len, text.splitlines())) <= 80


def test_the_derivation_puts_the_values_in():
    text = run(
        *["storage", "--model", "gpt3-175b", "--method", "lora", "--targets", "q,v", "--rank", "4", "--explain"]
    ).stdout
    assert "96 layers x 4 x (12,288 + 12,288)\n  = 9,437,184" in text
    assert "18,874,368 x 2\n  = 37,748,736" in text
    assert "Hu et al. 2021" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_latex_derivation_compiles_in_shape():
    latex = run(
        *["rank", "--model", "gpt2", "--targets", "q", "--budget", "1GB", "--explain", "--format", "latex"]
    ).stdout
    assert latex.startswith("\\begin{align*}\n") and latex.endswith("\\end{align*}\n")
    assert latex.count("{") == latex.count("}")
    assert "c_attn" not in latex and r"c\_attn" in latex
    assert r"&= \min(768, 768) \\" in latex and "27126" in latex


def test_a_folder_and_a_file_are_read(tmp_path):
    config = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50_257}
    (tmp_path / "config.json").write_text(json.dumps({**config, "n_positions": 1024}))
    for model in (tmp_path, tmp_path / "config.json"):
        answer = result("storage --model", str(model))
        assert (answer["params_stored"], answer["published"]) == (124_439_808, None)


def test_a_shape_is_listed_and_printed():
    names = [row["name"] for row in result("shape")["models"]]
    assert {"gpt2", "gpt3-175b", "phi-2", "llama-3-8b", "mixtral-8x7b", "qwen3-30b-a3b", "gemma-3-4b"} <= set(names)
    answer = result("shape", "qwen3-30b-a3b")
    assert sum(answer["groups"].values()) == answer["params"] == 30_532_122_624
    assert answer["params_active"] == 3_353_032_704
    for command in (
        "shape",
        "shape gpt2",
        "shape qwen3-235b-a22b",
        "shape gemma-2-27b",
        "storage --model gemma-2b",
    ):
        assert max(map(len, run(command).stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "status", "parts"),
    [
        ("storage --model gpt4", 2, ["no model is known by the name 'gpt4'", "gpt3-175b"]),
        ("storage", 2, ["give a model or a number of parameters"]),
        ("storage --model gpt2 --params 1B", 2, ["one of the two"]),
        ("storage --params -3", 2, ["--params must be finite and more than zero"]),
        ("storage --params 0", 2, ["more than zero"]),
        ("storage --params 3Q", 2, ["unknown unit", "K, M, B, T"]),
        ("storage --params 3B --method lora --rank 4 --targets q", 2, ["needs --model"]),
        ("storage --model gpt2 --method lora --targets q", 2, ["a LoRA needs a rank"]),
        ("storage --model gpt2 --method lora --rank 4", 2, ["no target is named", "q, k, v, o, up, down"]),
        ("storage --model gpt2 --method lora --rank 0 --targets q", 2, ["invalid LoRA rank"]),
        ("storage --model gpt2 --method matrices --targets gate", 2, ["no target 'gate'", "c_attn"]),
        ("storage --model gpt2 --rank 4", 2, ["--rank means nothing with --method full"]),
        ("storage --model gpt2 --targets q", 2, ["--targets means nothing"]),
        ("storage --model gpt2 --dtype bf17", 2, ["unknown dtype 'bf17'", "'bf16'"]),
        ("storage --model gpt2 --copies 0", 2, ["number of copies"]),
        ("storage --model gpt2 --method dora", 2, ["dora", "full", "matrices", "lora"]),
        ("storage --model nowhere.json", 2, ["there is no nowhere.json"]),
        ("rank --model gpt3-175b --targets q --budget 1MiB", 1, ["no rank fits", "4718592 bytes"]),
        ("rank --model gpt2 --targets q --budget 1XB", 2, ["--budget", "unknown unit", "MiB"]),
        ("rank --targets q --budget 1MiB", 2, ["needs a model"]),
        ("shape gpt-2", 2, ["Did you mean 'gpt2'"]),
    ],
)
def test_bad_input_is_one_line_that_names_what_exists(arguments, status, parts):
    got, line = failure(arguments)
    assert got == status
    assert all(part in line for part in parts), line


def test_a_bad_configuration_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.json").write_text('{"model_type": "mamba"}')
    for name, part in {"a": "is not JSON", "b": "expected an object", "c": "expected one of bloom"}.items():
        status, line = failure("storage --model", str(tmp_path / f"{name}.json"))
        assert status == 2 and part in line


def test_offline_the_hub_is_not_asked(tmp_path):
    pytest.importorskip("huggingface_hub")
    started = time.perf_counter()
    status, line = failure("storage --model", "nobody/nothing", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert status == 2 and "the model 'nobody/nothing' cannot be had from the hub" in line
    assert time.perf_counter() - started < 10


def test_a_known_hub_id_needs_no_hub():
    assert result("storage --model", "microsoft/phi-2")["params_stored"] == 2_779_683_840


def test_storage_loads_nothing_heavy():
    code = (
        "import sys; from finetrial.cli.main import dispatch\n"
        "status = dispatch('footprint storage --model gpt3-175b --method lora --targets q,v --rank 4'.split())\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[] 0", done.stdout + done.stderr


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs os.wait4 to read a child's processor time")
def test_storage_answers_within_three_tenths_of_a_second_of_processor_time():
    storage = "footprint storage --model gpt3-175b --method lora --targets q,v --rank 4"
    taken, allowed = taken_and_allowed("-m", "finetrial.cli.main", *storage.split(), seconds=0.3)
    assert taken < allowed
