"""What tuning broke: every arm's bits per byte on other text reach the records, the findings and the report."""

import json

import pytest
import torch
from tiny_trials import Lines, make_base

from finetrial.errors import UserError
from finetrial.evidence.trial_findings import trial_findings
from finetrial.store.layout import TrialFolder
from finetrial.store.records import Measured, RetainedText, read_object, read_rows
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.run import run_trial

TRIAL = """\
trial: tiny
model: ./model
data: {source: rows.jsonl, template: "{prompt}\\nTL;DR:", validation: 8, heldout: 6, retain: o.jsonl}
arms:
  base:
  prompted: {shots: 1}
  full: {method: full, learning_rate: 1e-2}
training: {epochs: 2, batch_tokens: 256, precision: float32, evaluations: 1, seeds: 2}
sampling: {prompts: 4, per_prompt: 1, max_new_tokens: 4}
judging: {grade_prompts: 0}
"""
OTHER = ["zebras quickly vex five jumping kings", "1234567890 " * 20, "Quiz: who bought my jukebox?"]


def run(base, *overrides, out="run"):
    lines, folder = Lines(), TrialFolder(base / out)
    done = run_trial(TrialContext(load_trial(base / "tiny.yaml", overrides=overrides), folder, listener=lines))
    assert done.failures == {}
    return folder, lines.take()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("retained")
    make_base(base)
    (base / "o.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in OTHER))
    (base / "tiny.yaml").write_text(TRIAL)
    run(base)
    return base


def test_tuning_costs_bits_on_other_text_and_examples_in_the_prompt_are_not_measured(base):
    folder = TrialFolder(base / "run")
    bits = {arm: read_object(folder.measured(arm), Measured).retain_bits_per_byte for arm in ("base", "full")}
    # 32 wide and untrained, the base is near the logarithm of its 400 tokens for each token; tuning on other words
    # at this rate makes these letters and digits rarer still
    assert bits["full"] > bits["base"] > 0
    assert read_object(folder.measured("prompted"), Measured).retain_bits_per_byte is None
    rows = list(read_rows(folder.retained("full"), RetainedText))
    assert [row.n_bytes for row in rows] == [len(text) for text in OTHER]
    assert bits["full"] == pytest.approx(sum(r.bits for r in rows) / sum(r.n_bytes for r in rows))


def test_findings_and_report_show_the_mean_of_the_runs_beside_the_base(base):
    folder = TrialFolder(base / "run")
    found = trial_findings(folder).retained
    runs = [read_object(folder.measured(name), Measured).retain_bits_per_byte for name in ("full", "full@1")]
    at_base = read_object(folder.measured("base"), Measured).retain_bits_per_byte
    assert list(found) == ["base", "full"] and found["base"].to_base is None
    assert found["full"].bits_per_byte == pytest.approx(sum(runs) / 2)
    assert found["full"].to_base == pytest.approx(sum(runs) / 2 - at_base)
    results = json.loads((folder.report / "results.json").read_text())
    assert results["retained"]["full"]["to_base"] == pytest.approx(found["full"].to_base)
    assert {"arms/base/retain.jsonl", "arms/full@1/retain.jsonl"} <= set(results["hashes"])
    assert "what tuning broke" in (folder.report / "index.html").read_text()


def test_another_text_samples_again_and_says_why(base):
    (base / "p.txt").write_text("Another text altogether.\n")
    folder, lines = run(base, "data.retain=p.txt")
    assert "full: tuned already" in lines and "full: sampling again, data.retain changed" in lines
    assert trial_findings(folder).retained["full"].documents == 1
    _, lines = run(base, "data.retain=null")
    assert "full: sampling again, data.retain changed" in lines
    assert trial_findings(folder).retained == {}
    assert read_object(folder.measured("full"), Measured).retain_bits_per_byte is None
    run(base)


def test_a_missing_file_is_said_before_anything_is_tuned(base):
    with pytest.raises(UserError, match=r"there is no data file .*nowhere.txt"):
        run(base, "data.retain=nowhere.txt", out="missing")
    assert not (base / "missing" / "arms").exists()
