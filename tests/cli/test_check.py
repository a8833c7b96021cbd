"""`init`, `check` and `doctor` as a user meets them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_tokenizers import CHATML, byte_level

from finetrial.cli.main import COMMANDS, dispatch, help_text
from finetrial.trial.data import read_splits
from finetrial.trial.trial_file import load_trial

ROWS = [{"ticket": f"the quick fox {i} asks", "answer": f"the lazy dog {i}", "customer": i // 2} for i in range(40)]
MAPPING = ["--set", "data.prompt=ticket", "--set", "data.completion=answer"]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The smallest of models, with a tokenizer that has a chat template."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("model")
    byte_level(chat=CHATML).save_pretrained(folder)
    config = GPT2Config(
        n_positions=128, vocab_size=400, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def trial(tmp_path, model):
    write_jsonl(tmp_path / "tickets.jsonl", ROWS)
    path = tmp_path / "trial.yaml"
    path.write_text(
        f"trial: tickets\nmodel: {model}\ndata:\n  source: tickets.jsonl\n  prompt: ticket\n  completion: answer\n"
        "  chat: never\n  validation: 4\n  heldout: 4\narms:\n  base: {}\n  full: {method: full}\n"
        "sampling: {max_new_tokens: 20}\n"
    )
    return path


def run(capsys, *arguments):
    status = dispatch([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_check_shows_an_example_with_its_trained_tokens_between_marks_in_80_columns(trial, capsys):
    status, out, _ = run(capsys, "check", trial)
    assert status == 0
    assert "| the quick fox" in out and "asks» the lazy dog" in out and "<|endoftext|>«" in out
    assert "the seam: " in out and "|»" in out
    train = next(line for line in out.splitlines() if line.startswith("train "))
    assert train.split()[1:5] == ["32", "32", "0", "0"]  # rows, kept, cut, dropped
    assert "ok    no prompt stands in two splits" in out
    assert max(len(line) for line in out.splitlines()) <= 80
    assert "\x1b" not in out  # no colour codes where there is no terminal


def test_check_counts_agree_with_the_json_it_prints(trial, capsys):
    status, out, _ = run(capsys, "check", trial, "--json")
    content = json.loads(out)
    assert status == 0 and content["tokens_missing"] is None
    gate = content["report"]["tokens"]["{prompt}"]["splits"]
    assert {name: split["kept"] for name, split in gate.items()} == {"train": 32, "validation": 4, "heldout": 4}
    for split in gate.values():
        assert 0 < split["trained_share"] < 1
        assert split["trained_share"] == pytest.approx(split["trained_tokens"] / split["tokens"])
    shown = content["examples"][0]
    assert [s["trained"] for s in shown["stretches"]] == [False, True]
    assert shown["stretches"][1]["text"].endswith("<|endoftext|>")


def test_check_names_what_is_cut(trial, capsys):
    long = [row | {"ticket": row["ticket"] + " and the cat" * 20} for row in ROWS]
    write_jsonl(trial.parent / "tickets.jsonl", long)
    status, _, err = run(capsys, "check", trial, "--set", "data.max_tokens=60")
    assert status == 2 and "32 of 32 rows are longer than data.max_tokens" in err
    status, out, _ = run(capsys, "check", trial, "--set", "data.max_tokens=60", "--set", "data.overlong=cut")
    assert status == 0 and "prompt tokens truncated in 32 rows to fit max_tokens" in out


def test_check_foresees_a_tuning_of_next_to_no_steps_and_a_prompt_its_shots_leave_no_room(trial, capsys):
    _, out, _ = run(capsys, "check", trial, "--set", "training.batch_tokens=8192", "--json")
    gate = json.loads(out)["report"]["tokens"]["{prompt}"]
    assert gate["splits"]["train"]["tokens"] < 1.5 * 8192  # so one step
    assert [finding["message"][:30] for finding in gate["findings"]] == ["full: about 1 optimizer step, "]
    shots = ["--set", "training.batch_tokens=32", "--set", "arms.prompted={shots: 20}"]
    status, out, err = run(capsys, "check", trial, *shots)
    assert status == 2 and "optimizer step" not in out and "as training sees it" in out
    assert "arms.prompted: 4 of 4 prompts are too long to be answered: tickets.jsonl:" in err
    assert "behind 20 solved examples" in err


def test_check_shows_what_auto_chose_and_one_prompt_as_the_model_sees_it(trial, capsys):
    chats = ["--set", "data.chat=auto", "--set", "sampling={}", "--set", "arms.prompted={shots: 2}"]
    status, out, _ = run(capsys, "check", trial, *chats, "--set", "arms.plain={chat: never, stop: [END]}")
    assert status == 0 and max(len(line) for line in out.splitlines()) <= 80
    table = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("prompted ", "plain "))
    }
    # answers of seven tokens with their end: the least length; forty different ones are no labels
    assert table["prompted"] == ["chat*", "2", "16*", "0.8*", "3*", '"\\n"*']
    assert table["plain"] == ["text", "–", "16*", "0.8*", "3*", '"END"']
    start = out.index("one prompt behind 2 examples as the model sees it (prompted)")
    shown = out[start : out.index("one prompt as the model sees it (plain)")]
    assert shown.count("| <|im_start|>user") == 3 and shown.count("<|im_end|>") == 5
    _, out, _ = run(capsys, "check", trial, *chats, "--json")
    arms = json.loads(out)["arms"]
    assert list(arms) == ["base", "full", "prompted"] and arms["base"]["auto"][:2] == ["chat", "stop"]
    assert arms["base"]["shown"].endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_check_counts_the_references_that_an_answer_of_the_given_length_cannot_reach(trial, capsys):
    long = [row | {"answer": row["answer"] + " and the cat" * (3 * (i % 2))} for i, row in enumerate(ROWS)]
    write_jsonl(trial.parent / "tickets.jsonl", long)
    _, out, _ = run(capsys, "check", trial, "--set", "sampling.max_new_tokens=10", "--json")
    content = json.loads(out)
    (gate,) = content["report"]["tokens"].values()
    (message,) = (f["message"] for f in gate["findings"] if f["code"] == "over_limit")
    lengths = gate["splits"]["heldout"]["completion_lengths"]
    assert lengths["most"] > 10 and f"the longest has {lengths['most']}" in message
    assert any(message.startswith(f"{n} of 4 held-out references") for n in (1, 2, 3, 4))
    _, out, _ = run(capsys, "check", trial, "--set", "sampling.max_new_tokens=auto", "--json")
    assert "over_limit" not in out


def test_check_suggests_an_instruction_for_a_base_that_is_shown_the_bare_prompt(trial, capsys):
    write_jsonl(
        trial.parent / "tickets.jsonl",
        [row | {"ticket": f"{i} cats, dogs"[:: 1 - 2 * (i % 2)]} for i, row in enumerate(ROWS)],
    )
    _, out, _ = run(capsys, "check", trial)
    assert "look  base: shown the bare prompt, which does not say what is wanted" in out
    _, out, _ = run(capsys, "check", trial, "--set", "data.template=What is it? {prompt}")
    assert "bare prompt" not in out


def test_check_refuses_a_row_beyond_the_models_context(trial, capsys):
    write_jsonl(trial.parent / "tickets.jsonl", [*ROWS, {"ticket": "the fox " * 100, "answer": "a"}])
    status, _, err = run(capsys, "check", trial)
    assert status == 2 and "tickets.jsonl:41 does not fit the model's context" in err and "at most 128" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "data.prompt=tickets"], "column of tickets.jsonl 'tickets'; expected one of answer, customer"),
        (["--set", "data.template='{titel}'"], "unknown column in the template"),
        (["--set", "data.heldout=400"], "got 40 rows"),
        (["--set", "data.group=client"], "has no column 'client' for data.group"),
        (["--set", "data.source=gone.jsonl"], "there is no data file"),
    ],
)  # fmt: skip
def test_check_says_in_one_line_what_is_wrong(trial, capsys, arguments, expected):
    status, out, err = run(capsys, "check", trial, *arguments)
    assert status == 2 and out == "" and expected in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_check_refuses_an_overlap_and_drops_it_when_told(trial, capsys):
    write_jsonl(trial.parent / "more.jsonl", [*ROWS[:3], {"ticket": "another fox", "answer": "a"}])
    split = ["--set", "data.source={train: tickets.jsonl, heldout: more.jsonl}", "--set", "data.heldout=null"]
    status, _, err = run(capsys, "check", trial, *split)
    assert status == 2 and "3 prompts in more than one split" in err and "more.jsonl:1 (heldout)" in err
    status, out, _ = run(capsys, "check", trial, *split, "--set", "data.overlap=drop")
    assert status == 0 and "dropped from train" in out


def test_check_without_the_model_shows_the_text_and_says_what_is_missing(trial, capsys):
    status, out, err = run(capsys, "check", trial, "--set", "model=./nowhere")
    assert status == 2 and "train             32" in out and "nowhere" in err
    status, out, _ = run(capsys, "check", trial, "--set", "model=./nowhere", "--json")
    content = json.loads(out)
    assert status == 2 and content["tokens_missing"]["what"] and content["report"]["text"]["rows"]["train"] == 32


def test_check_of_chats_trains_the_assistants_turns(trial, capsys):
    turns = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "the dog"}]
    rows = [{"messages": [{"role": "user", "content": f"fox {i}"}, *turns[1:], *turns]} for i in range(40)]
    write_jsonl(trial.parent / "tickets.jsonl", rows)
    chats = [
        "--set",
        "data.chat=auto",
        "--set",
        "data.format=messages",
        "--set",
        "data.prompt=null",
        "--set",
        "data.completion=null",
    ]
    status, out, _ = run(capsys, "check", trial, *chats, "--set", "data.assistant_loss=all")
    assert status == 0 and out.count("»the dog<|im_end|>«") == 2
    assert "ends with a trained '<|im_end|>'" in out


BLOCKED = """
import sys
for name in ("torch", "transformers", "peft"):
    sys.modules[name] = None
from finetrial.cli.main import dispatch
sys.exit(dispatch(sys.argv[1:]))
"""


def test_check_and_init_work_without_torch_as_far_as_they_can(trial):
    environment = os.environ | {"COLUMNS": "80"}
    command = [sys.executable, "-c", BLOCKED]
    checked = subprocess.run([*command, "check", trial], capture_output=True, text=True, env=environment)
    assert checked.returncode == 2 and "train             32" in checked.stdout
    assert "pip install 'finetrial[tune]'" in checked.stderr
    started = subprocess.run(
        [*command, "init", "--data", "tickets.jsonl", "--model", "gpt2", "--out", "new.yaml"],
        capture_output=True, text=True, cwd=trial.parent,
    )  # fmt: skip
    assert started.returncode == 0 and "prompt is 'ticket', completion is 'answer'" in started.stdout


@pytest.mark.parametrize("kind", ["jsonl", "csv", "chats", "alpaca", "txt", "documents"])
def test_a_file_that_init_writes_is_read_back_and_its_data_too(tmp_path, capsys, monkeypatch, kind):
    (tmp_path / "data").mkdir()
    name = f"data/my {kind}." + {"csv": "csv", "txt": "txt"}.get(kind, "jsonl")
    path = tmp_path / name
    if kind == "csv":
        path.write_text("question,answer,customer\n" + "".join(f"q{i},a{i},{i // 2}\n" for i in range(40)))
    elif kind == "txt":
        path.write_text("".join(f"line {i}\n" for i in range(100)))
    else:
        rows = {
            "jsonl": [{"prompt": f"q{i}", "completions": ["a", "b"]} for i in range(40)],
            "chats": [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
                      for i in range(40)],
            "alpaca": [{"instruction": f"q{i}", "input": "", "output": "a"} for i in range(40)],
            "documents": [{"text": "\n".join(f"{i} line {j}" for j in range(10))} for i in range(40)],
        }[kind]  # fmt: skip
        write_jsonl(path, rows)
    (tmp_path / "trials").mkdir()
    monkeypatch.chdir(tmp_path)
    status, out, _ = run(capsys, "init", "--data", name, "--model", "some/model", "--out", "trials/t.yaml")
    assert status == 0 and "Next: finetrial check trials/t.yaml" in out
    loaded = load_trial(Path("trials/t.yaml"))
    assert loaded.trial.data.source == f"../{name}" and loaded.trial.model == "some/model"
    assert list(loaded.trial.arms) == ["base", "prompted", "full", "lora"]
    splits = read_splits(loaded)
    assert len(splits.heldout) == loaded.trial.data.heldout >= 1 and len(splits.train) > len(splits.heldout)
    assert kind in ("txt", "documents") or len(splits.heldout) == 4  # a tenth of the rows, grouped or not
    assert (loaded.trial.data.group == "customer") == (kind == "csv")
    text = Path("trials/t.yaml").read_text()
    assert max(len(line) for line in text.splitlines()) <= 116 and text.count("#") > 10


def test_init_does_not_replace_a_file_unasked(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", [{"prompt": f"p{i}", "completion": "c"} for i in range(10)])
    command = ["init", "--data", "a.jsonl", "--model", "gpt2"]
    assert run(capsys, *command)[0] == 0
    Path("a.yaml").write_text("mine")
    status, _, err = run(capsys, *command)
    assert status == 2 and "a.yaml is there already" in err and Path("a.yaml").read_text() == "mine"
    assert run(capsys, *command, "--force")[0] == 0
    status, out, _ = run(capsys, *command, "--out", "an other.yaml")  # and runs into a folder of its own
    assert status == 0 and "Next: finetrial check 'an other.yaml'" in out
    assert [load_trial(Path(name)).trial.trial for name in ("a.yaml", "an other.yaml")] == ["a", "an-other"]


def test_the_list_of_commands_fits_80_columns():
    lines = help_text().splitlines()
    assert "  doctor     Print versions, device, cores, memory and what is missing" in lines
    assert max(map(len, lines)) <= 80


def test_doctor_says_what_there_is(capsys):
    from importlib.metadata import version

    status, out, _ = run(capsys, "doctor", "--json")
    facts = json.loads(out)
    assert status == 0 and facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 0 < facts["cores"] <= os.cpu_count() and facts["memory_bytes"] > 2**28
    extras = {extra["name"]: extra for extra in facts["extras"]}
    assert set(extras) == {"tune", "grade", "parquet", "gpu", "ray", "notebook"}
    assert "run" in extras["tune"]["commands"] and set(extras["tune"]["commands"]) <= set(COMMANDS)
    assert extras["tune"]["versions"]["torch"] == version("torch") and facts["device"]["kind"] in (
        "cpu",
        "cuda",
        "mps",
    )
    assert all(path["reason"] for path in facts["fast_paths"])
    assert {"rotary grouped attention", "RMS norm"} <= {path["name"] for path in facts["fast_paths"]}
    status, out, _ = run(capsys, "doctor")
    assert status == 0 and f"torch {version('torch')}" in out
    assert max(len(line) for line in out.splitlines()) <= max(80, len(sys.executable) + 25)


def test_doctor_says_which_fast_paths_a_model_takes_and_why_not(tmp_path, capsys, monkeypatch):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    monkeypatch.setattr("finetrial.models.fast_paths.choose_precision", lambda *_, device: torch.bfloat16)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=2, vocab_size=64)).save_pretrained(tmp_path / "m")
    status, out, _ = run(capsys, "doctor", "--model", str(tmp_path / "m"), "--json")
    found = {path["name"]: path for path in json.loads(out)["fast_paths"]}
    assert status == 0 and found["packed rows"]["on"] and found["tanh-GELU"]["on"]
    assert not found["RMS norm"]["on"] and found["RMS norm"]["reason"] == "the model has none"
    status, out, _ = run(capsys, "doctor", "--model", str(tmp_path / "m"))
    assert status == 0 and "tanh-GELU: on, 2 of TanhGelu" in out and max(map(len, out.splitlines())) <= 200


def test_doctor_says_how_to_install_what_is_missing(tmp_path):
    code = """
import importlib.metadata as metadata, sys
from finetrial.cli.doctor import Extra, _print
facts = {"finetrial": "1", "python": "3.11", "platform": "p", "cores": 2.0, "memory_bytes": 2**30,
         "disk_free_bytes": 2**30, "device": None, "offline": True}
tune = Extra("tune", "load models", {"torch": None, "peft": "0.1"}, {"peft": "0.17"})
gpu = Extra("gpu", "use a card", {"triton": None}, {})
for device in (None, {"kind": "cuda", "name": "card", "memory_bytes": None, "threads": 1}):
    _print(facts | {"device": device}, core={"numpy": "1"}, extras=[tune, gpu])
    print("=====")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    without_card, with_card, _ = done.stdout.split("=====\n")
    for said in (without_card, with_card):
        assert "To load models: torch is missing, peft is older than 0.17" in said
        assert "without it: no demo, check, run" in said
        assert "pip install 'finetrial[tune]'" in said and "HF_HUB_OFFLINE" in said
    assert (
        "Nothing of [gpu] is needed here: there is no card." in without_card and "To use a card" not in without_card
    )
    assert "To use a card: triton is missing" in with_card
