"""What is looked at before an arm is sampled is said and recorded; what references cost each arm is measured."""

import json
import math
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_trials import TRIAL, Lines, make_base
from transformers import AutoModelForCausalLM

from finetrial.errors import UserError
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, ReferenceLikelihood, Sample, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

ARMS = """\
arms:
  base:
  prompted: {shots: 1}
  full: {method: full, learning_rate: 3e-3}
  lora: {method: lora, rank: 2, targets: [q, v], learning_rate: 1e-2}
  nothing: {adapter: ./zeros}
  copy: {model: ./copied}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("checks")
    make_base(root)
    shutil.copytree(root / "model", root / "copied")
    model = AutoModelForCausalLM.from_pretrained(root / "model")
    # peft's LoRA starts with a B of zeros: an adapter that was saved before it was trained
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2)).save_pretrained(root / "zeros")
    start, end = TRIAL.index("arms:"), TRIAL.index("training:")
    (root / "tiny.yaml").write_text(TRIAL[:start] + ARMS + TRIAL[end:])
    folder, lines = TrialFolder(root / "run"), Lines()
    context = TrialContext(load_trial(root / "tiny.yaml"), folder, listener=lines)
    done = run_trial(context)
    assert done.failures == {}
    return context, folder, lines.lines, done.findings


def checks_of(folder, arm):
    return {check.name: check for check in read_object(folder.measured(arm), Measured).sampling_checks}


def test_an_arm_that_answers_as_its_base_does_is_named_loudly_and_in_the_verdict(ran):
    _, folder, lines, findings = ran
    held = {arm: checks_of(folder, arm).get("other than its base") for arm in ("full", "lora", "nothing", "copy")}
    assert {arm: check.holds for arm, check in held.items()} == {
        "full": True,
        "lora": True,
        "nothing": False,
        "copy": False,
    }
    assert "other than its base" not in checks_of(folder, "base") | checks_of(folder, "prompted")
    assert any("nothing: other than its base: WARNING: its adapter changes nothing" in line for line in lines)
    warned = {arm for w in findings.verdict_warnings if w.kind == "failed_check" for arm in w.arms}
    assert warned == {"nothing", "copy"}
    report = (folder.report / "report.md").read_text()
    assert "nothing was sampled although its adapter changes nothing" in report
    texts = {arm: [s.text for s in read_rows(folder.samples(arm), Sample)] for arm in ("base", "nothing", "copy")}
    assert texts["nothing"] == texts["base"] == texts["copy"], "the warning is right"


def test_prompts_and_special_tokens_are_checked_and_the_report_says_what_was_looked_at(ran):
    _, folder, _, _ = ran
    for arm in ("full", "lora"):
        found = checks_of(folder, arm)
        assert found["prompts as tuned on"].holds and found["special tokens"].holds
    assert "prompts as tuned on" not in checks_of(folder, "base")
    page = (folder.report / "report.md").read_text()
    assert "Checked before sampling" in page and "token for token (3 compared)" in page


def test_whether_an_adapter_was_merged_stands_among_what_was_resolved(ran):
    context, folder, _, _ = ran
    resolved = json.loads(folder.manifest.read_text())["resolved"]
    assert resolved["lora"]["adapter"] == "merged into the weights"
    assert "adapter" not in resolved["full"]
    context.note_resolved()  # as the next command does
    assert json.loads(folder.manifest.read_text())["resolved"] == resolved


def test_what_references_cost_is_that_of_the_model_alone(ran):
    context, folder, _, findings = ran
    rows = {row.prompt_id: row for row in read_rows(folder.references("base"), ReferenceLikelihood)}
    assert len(rows) == 6
    model = AutoModelForCausalLM.from_pretrained(folder.root.parent / "model").eval()
    samples = {s.prompt_id: s for s in read_rows(folder.samples("base"), Sample)}
    tokenizer = context.tokenizer("base")
    for row in rows.values():
        prompt = tokenizer(samples[row.prompt_id].prompt).input_ids
        reference = samples[row.prompt_id].references[0]
        answer = [*tokenizer(" " + reference).input_ids, tokenizer.eos_token_id]
        with torch.no_grad():
            logprobs = model(torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
        expected = -sum(float(logprobs[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))
        assert row.nats == pytest.approx(expected, rel=1e-5)
        assert (row.tokens, row.n_bytes) == (len(answer), len(reference.encode()))
    nats, tokens = (sum(getattr(row, key) for row in rows.values()) for key in ("nats", "tokens"))
    n_bytes = sum(row.n_bytes for row in rows.values())
    measured = read_object(folder.measured("base"), Measured)
    assert measured.heldout_loss == pytest.approx(nats / tokens)
    assert measured.heldout_bits_per_byte == pytest.approx(nats / math.log(2) / n_bytes)
    found = findings.references
    assert list(found) == ["base", "prompted", "full", "lora", "nothing", "copy"]
    assert found["base"].perplexity == pytest.approx(math.exp(nats / tokens)) and found["base"].to_base is None
    assert found["nothing"].to_base == pytest.approx(0, abs=1e-9) and found["full"].to_base < 0
    assert found["full"].low < found["full"].to_base < found["full"].high
    results = json.loads((folder.report / "results.json").read_text())
    assert results["references"]["full"]["bits_per_byte"] == pytest.approx(found["full"].bits_per_byte)
    assert "arms/full/references.jsonl" in results["hashes"]
    assert "bits a byte" in (folder.report / "index.html").read_text()


def test_an_adapter_for_another_base_is_refused_with_both_names(ran, tmp_path):
    _, folder, _, _ = ran
    root = folder.root.parent
    other = AutoModelForCausalLM.from_pretrained(root / "model")
    with torch.no_grad():
        other.transformer.wte.weight.add_(0.1)
    other.save_pretrained(tmp_path / "elsewhere")
    adapted = AutoModelForCausalLM.from_pretrained(tmp_path / "elsewhere")
    get_peft_model(adapted, LoraConfig(task_type="CAUSAL_LM", r=2)).save_pretrained(tmp_path / "theirs")
    start, end = TRIAL.index("arms:"), TRIAL.index("training:")
    trial = TRIAL[:start] + f"arms:\n  base:\n  theirs: {{adapter: {tmp_path / 'theirs'}}}\n" + TRIAL[end:]
    (root / "other.yaml").write_text(trial)
    context = TrialContext(load_trial(root / "other.yaml"), TrialFolder(tmp_path / "run"), listener=Lines())
    (failed,) = run_trial(context).failures.items()
    assert failed[0] == "theirs"
    said = str(failed[1])
    assert str(tmp_path / "elsewhere") in said and str(root / "model") in said


def test_no_samples_a_prompt_is_refused_by_the_trial_file(ran):
    root = ran[1].root.parent
    with pytest.raises(UserError, match=r"sampling\.per_prompt"):
        load_trial(root / "tiny.yaml", overrides=["sampling.per_prompt=0"])
