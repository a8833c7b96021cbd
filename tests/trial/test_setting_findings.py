"""Settings that are allowed and that nobody means are said; ordinary ones are not."""

import json

import pytest
import torch
from tiny_trials import make_base

from finetrial.cli.main import dispatch
from finetrial.trial.setting_findings import setting_findings
from finetrial.trial.trial_file import parse_trial

TRIAL = """\
trial: tiny
model: ./model
data: {source: rows.jsonl, max_tokens: 64, validation: 4, heldout: 6}
arms:
  base: {}
  lora: {method: lora, rank: 2}
training: {epochs: 1, batch_tokens: 64, precision: float32, learning_rate: 1e-3}
sampling: {prompts: 4, max_new_tokens: 4}
judging: {metrics: [rouge1], grade_prompts: 0}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("settings")
    make_base(folder)
    return folder


def found(base, capsys, text, rows=None):
    """The codes and messages that `check` finds; it must have nothing to refuse."""
    (base / "trial.yaml").write_text(text)
    if rows is not None:
        (base / "changed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (base / "trial.yaml").write_text(text.replace("rows.jsonl", "changed.jsonl"))
    assert dispatch(["check", str(base / "trial.yaml"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    gates = [report["text"], *report["tokens"].values()]
    return {finding["code"]: finding["message"] for gate in gates for finding in gate["findings"]}


def test_an_ordinary_trial_has_none_of_them(base, capsys):
    assert set(found(base, capsys, TRIAL)) <= {
        "few_steps",
        "bare_prompt",
        "near_overlap",
        "over_limit",
        "instruction",
    }


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("learning_rate: 1e-3", "learning_rate: 50", "high_learning_rate", "lora: a learning rate of 50"),
        ("prompts: 4", "prompts: 4, temperature: 50", "high_temperature", "sampling.temperature: 50"),
        ("prompts: 4", "prompts: 4, strip: 'Answer:.*'", "strip_and_stops", "stops are looked for in what it"),
        ("rank: 2", "rank: 64", "high_rank", "rank 64 is more than the model's width of 32"),
        ("max_tokens: 64", "max_tokens: 4096", "beyond_context", "4,096 is more than the model's context of 128"),
        ("epochs: 1", "epochs: 500", "many_epochs", "500 epochs"),
        ("rank: 2}", "rank: 2}\n  same: {method: lora, rank: 2}", "arms_alike", "lora and same are the same arm"),
        ("base: {}", "base: {}\n  other: {method: lora, rank: 2, epochs: 1}", "arms_alike", "other and lora"),
    ],
)  # fmt: skip
def test_a_setting_that_nobody_means_is_said(base, capsys, old, new, code, said):
    assert old in TRIAL
    assert said in found(base, capsys, TRIAL.replace(old, new))[code]


def test_labels_that_teach_nothing_or_contradict_one_another_are_said(base, capsys):
    rows = [{"prompt": f"ticket {i} came in", "completion": "yes"} for i in range(40)]
    assert "the same, 'yes'" in found(base, capsys, TRIAL, rows)["one_label"]
    rows = [{"prompt": f"ticket {i // 2} came in", "completion": f"label {i % 2}"} for i in range(60)]
    assert "with different completions in different rows" in found(base, capsys, TRIAL, rows)["contradictions"]


@pytest.mark.parametrize("sampling", ["strip: <think>", "strip: 'Answer:.*', stop: []"])
def test_what_holds_stops_back_or_has_none_is_not_named(sampling):
    trial = parse_trial(TRIAL.replace("prompts: 4", f"prompts: 4, {sampling}"), origin="t.yaml")
    assert setting_findings(trial) == []


def test_arms_that_differ_in_one_key_are_not_alike():
    arms = (
        "  a: {method: lora, rank: 2}\n  b: {method: lora, rank: 2, alpha: 8}\n  c: {shots: 2}\n  d: {shots: 3}\n"
    )
    trial = parse_trial(TRIAL.replace("  lora: {method: lora, rank: 2}\n", arms), origin="t.yaml")
    assert setting_findings(trial) == []
