"""271 mistakes, one at a time: each is refused by `check` with what and how to mend it, and by `run` too."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from planted import COMMAND_LINES, OTHER_COMMANDS, PLANTED, TRIAL
from tiny_trials import make_base
from transformers import AutoModelForCausalLM

from finetrial.cli.main import dispatch

TRIED: set[str] = set()  # the mistakes that were refused, both ways


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """A trial without a mistake: a tiny model, an adapter for it, and rows."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("right")
    make_base(base)
    model = AutoModelForCausalLM.from_pretrained(base / "model")
    config = LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(base / "adapter")
    (base / "trial.yaml").write_text(TRIAL)
    return base


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def said(capsys, *arguments):
    """The exit status of a command, and the error that its JSON holds."""
    status = dispatch([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, json.loads(captured.out).get("error") if captured.out else None


def assert_told(error):
    """What is wrong, and what is expected instead or how to mend it: of every mistake."""
    for one in error.get("mistakes", [error]):
        assert one["what"] and "internal error" not in one["what"]
        assert one["fix"] or one["expected"], one
    return True


def test_the_trial_without_a_mistake_is_right(right, capsys):
    for arms in ("", "  mine: {adapter: ./adapter}\n", "  mine: {model: ./model}\n", "  mine: {shots: 1}\n"):
        (right / "trial.yaml").write_text(TRIAL.replace("training:", arms + "training:", 1))
        assert said(capsys, "check", right / "trial.yaml") == (0, None)
    (right / "trial.yaml").write_text(TRIAL)


@pytest.mark.parametrize("name", PLANTED)
def test_check_refuses_a_mistake_before_run_does(right, tmp_path, capsys, name):
    base = tmp_path / "trial"
    shutil.copytree(right, base)
    trial = base / "trial.yaml"
    text = PLANTED[name](base, TRIAL)
    if isinstance(text, str):
        trial.write_text(text)
    status, error = said(capsys, "check", trial)
    assert status == 2 and assert_told(error)
    arm, named, _ = name.partition(": ")
    status, error = said(capsys, "run", trial, *(["--arm", arm] if named and arm == "mine" else []))
    assert status == 2 and assert_told(error)
    TRIED.add(name)


@pytest.mark.parametrize("name", COMMAND_LINES)
def test_check_refuses_a_wrong_command_line(right, capsys, name):
    status, error = said(
        capsys, "check", *(part.format(trial=right / "trial.yaml") for part in COMMAND_LINES[name])
    )
    assert status == 2 and assert_told(error)
    TRIED.add(name)


@pytest.mark.parametrize("arguments", OTHER_COMMANDS, ids=" ".join)
def test_the_other_commands_say_what_is_wrong(right, capsys, monkeypatch, arguments):
    (right / "bytes").write_bytes(b"\x00\xff\x00")
    (right / "empty").write_text("")
    (right / "junk.csv").write_text("a,b\n1,2\n")
    monkeypatch.chdir(right)
    status, error = said(capsys, *arguments)
    assert status == 2 and assert_told(error)
    TRIED.add(" ".join(arguments))


def test_that_were_271_mistakes():
    assert len(PLANTED) + len(COMMAND_LINES) + len(OTHER_COMMANDS) == 271 and len(TRIED) == 271


def test_several_mistakes_of_every_kind_are_named_at_once(right, tmp_path, capsys):
    base = tmp_path / "trial"
    shutil.copytree(right, base)
    (base / "own.py").write_text("def score(text, references): return 'good'")
    text = TRIAL.replace("training:", "  mine: {adapter: ./gone}\n  more: {shots: 500}\ntraining:", 1)
    text = text.replace("[rouge1]", "[rogue, 'own.py:score']").replace("prompts: 4", "prompts: 9")
    (base / "trial.yaml").write_text(text)
    status, error = said(capsys, "check", base / "trial.yaml")
    whats = " | ".join(mistake["what"] for mistake in error["mistakes"])
    assert status == 2 and len(error["mistakes"]) == 5
    for part in ("rogue", "own.py:score", "more prompts than are held out", "arms.mine", "arms.more"):
        assert part in whats
