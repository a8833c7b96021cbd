"""An arm with `from: MODEL` starts from another base: "which model shall I tune?" is a trial."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny_trials import TRIAL, Lines, make_base, make_model
from transformers import AutoModelForCausalLM

from finetrial.cli.main import dispatch
from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

ARMS = """\
arms:
  base:
  other: {from: ./other}
  lora: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}
  lora-other: {method: lora, from: ./other, rank: 2, targets: [q, v], learning_rate: 1e-2}
"""
TWO = TRIAL[: TRIAL.index("arms:")] + ARMS + TRIAL[TRIAL.index("training:") :].replace(", max_new_tokens: 6", "")
TWO = TWO.replace("max_tokens: 64", "max_tokens: 100")


def run(path, folder, *overrides, only=None):
    lines = Lines()
    context = TrialContext(load_trial(path, overrides=overrides), folder, listener=lines, only=only)
    return run_trial(context), lines.take(), context


def texts(folder, arm):
    return [(s.prompt_id, s.index, s.text, s.token_ids) for s in read_rows(folder.samples(arm), Sample)]


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """A trial on two models, and a trial whose own model is the second of them, each run once."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("two")
    make_base(base)
    # a tokenizer that knows none of the words: more tokens for the same text
    make_model(base / "other", ["".join(chr(97 + (i * j) % 26) for i in range(40)) for j in range(40)])
    torch.manual_seed(5)
    (base / "two.yaml").write_text(TWO)
    folder, alone = TrialFolder(base / "two"), TrialFolder(base / "alone")
    done, lines, context = run(base / "two.yaml", folder)
    arms = "arms={base: {}, lora-other: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}}"
    apart, _, _ = run(base / "two.yaml", alone, "model=./other", arms)
    assert done.failures == {} and apart.failures == {}
    return base, folder, alone, lines, context


def test_an_arm_on_another_base_becomes_and_answers_what_it_would_in_a_trial_of_that_base(two_models):
    _, folder, alone, _, _ = two_models
    assert texts(folder, "other") == texts(alone, "base") != texts(folder, "base")
    mine, theirs = (load_file(f.arm("lora-other") / "adapter_model.safetensors") for f in (folder, alone))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert texts(folder, "lora-other") == texts(alone, "lora-other")
    first, second = (read_object(f.measured("lora-other"), Measured) for f in (folder, alone))
    assert first.heldout_loss == second.heldout_loss and first.flops_total == second.flops_total


def test_answers_may_grow_as_long_as_text_whatever_the_tokenizer(two_models):
    *_, context = two_models
    limits = {name: arm.decoding.max_new_tokens for name, arm in context.resolved.items()}
    assert limits["base"] == limits["lora"] < limits["other"] == limits["lora-other"]
    drawn = [arm.decoding for arm in context.resolved.values()]
    assert len({(one.stop, one.temperature, one.per_prompt) for one in drawn}) == 1


def test_the_report_names_the_base_of_every_arm_and_compares_with_the_trials_own(two_models):
    _, folder, _, _, _ = two_models
    page = (folder.report / "report.md").read_text()
    assert "Model: model; other and lora-other start from other" in page
    assert "on other" in page and "Models with other tokenizers count other tokens" in page
    results = json.loads((folder.report / "results.json").read_text())
    assert results["base"] == "base"
    assert dispatch(["verify", str(folder.root)]) == 0
    # the folder's own copy of the trial says the same from anywhere
    assert load_trial(folder.root).trial.arms["other"].start_from == str(folder.root.parent / "other")


def test_only_the_arms_on_a_base_run_again_when_it_changes(two_models):
    base, folder, *_ = two_models
    kept = (base / "other" / "model.safetensors").read_bytes()
    model = AutoModelForCausalLM.from_pretrained(base / "other")
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.01)
    model.save_pretrained(base / "other")
    _, lines, _ = run(base / "two.yaml", folder)
    said = "\n".join(lines)
    assert "lora: tuned already" in said and "base: sampled already" in said
    assert "lora-other: tuning again, the model changed" in said
    assert "\nother: sampling again, the model changed" in said
    (base / "other" / "model.safetensors").write_bytes(kept)


def test_plan_export_and_check_follow_the_arms_base(two_models, tmp_path, capsys):
    base, folder, *_ = two_models
    assert dispatch(["export", str(folder.root), "other", "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    mine = load_file(tmp_path / "out" / "model.safetensors")
    theirs = load_file(base / "other" / "model.safetensors")
    assert torch.equal(mine["transformer.wte.weight"], theirs["transformer.wte.weight"])
    assert dispatch(["check", str(base / "two.yaml"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    gates = found["report"]["tokens"]
    trained = {label: gate["splits"]["train"]["trained_tokens"] for label, gate in gates.items()}
    assert len(trained) == 2 and any(label.endswith("on ./other") for label in trained)
    assert len(set(trained.values())) == 2, "each tokenizer counts its own"
    assert dispatch(["plan", str(base / "two.yaml"), "--json"]) == 0
    arms = json.loads(capsys.readouterr().out)["arms"]
    assert set(arms) == {"base", "other", "lora", "lora-other"}


@pytest.mark.parametrize(
    "change, said",
    [
        ("arms.other={from: ./other, model: ./other}", "`from` names the arm's base"),
        ("arms.other={from: ''}", "from"),
        ("arms.other={form: ./other}", "Did you mean 'from'"),
        ("arms.other={start_from: ./other}", "unknown key"),
    ],
)
def test_what_from_cannot_be_is_refused(two_models, change, said):
    with pytest.raises(UserError) as refused:
        load_trial(two_models[0] / "two.yaml", overrides=[change])
    assert said in str(refused.value)


def test_a_base_that_is_not_there_is_named_before_anything_is_tuned(two_models, tmp_path, capsys):
    path = str(two_models[0] / "two.yaml")
    for verb in ("check", "run"):
        out = ["--out", str(tmp_path / "run")] if verb == "run" else []
        assert dispatch([verb, path, "--set", "arms.lora-other.from=./nowhere", *out]) == 2
        assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "run" / "arms").exists()
