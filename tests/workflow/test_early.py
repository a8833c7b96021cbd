"""`run --early`: pilots on growing shares, arms dropped by their validation loss, and a report that says so."""

import dataclasses
import json
import shutil

import pytest
import torch
from killed_trial import kill_when, start
from tiny_trials import Lines, make_base

from finetrial.errors import UserError
from finetrial.evidence.early_findings import early_findings
from finetrial.reporting.verification import verify
from finetrial.scaling.early_decision import RISK
from finetrial.store.layout import TrialFolder
from finetrial.store.manifest import Manifest
from finetrial.store.pilots import read_early, read_pilot
from finetrial.trial.trial_file import load_trial
from finetrial.workflow.context import TrialContext
from finetrial.workflow.pilot_step import PilotStep
from finetrial.workflow.remote_step import order_of, run_order
from finetrial.workflow.run import run_trial, sample_trial
from finetrial.workflow.step import hashed_inputs

# 62 rows to train on of about 16 tokens; `still` has a rate so low that it learns nothing
EARLY = """\
trial: early
model: ./model
data: {source: rows.jsonl, template: "{prompt}\\nTL;DR:", max_tokens: 64, validation: 8, heldout: 10}
arms:
  base:
  full: {method: full, learning_rate: 3e-3}
  still: {method: lora, rank: 1, targets: [q], learning_rate: 1e-7}
  near: {method: full, learning_rate: 2.9e-3}
training: {epochs: 4, batch_tokens: 64, precision: float32, evaluations: 1}
sampling: {prompts: 3, per_prompt: 1, max_new_tokens: 2}
judging: {grade_prompts: 0, metrics: [rouge1]}
report: {slices: []}
"""


def run(base, folder, *overrides, early=True, only=None):
    lines = Lines()
    loaded = load_trial(base / "early.yaml", overrides=overrides)
    done = run_trial(TrialContext(loaded, folder, listener=lines, only=only), early=early)
    return done, lines.take()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A trial that was run with --early: its place, its folder, what came of it, and what was said."""
    torch.set_num_threads(1)
    base = tmp_path_factory.mktemp("early")
    make_base(base)
    (base / "early.yaml").write_text(EARLY)
    folder = TrialFolder(base / "run")
    done, lines = run(base, folder)
    return base, folder, done, lines


@pytest.fixture
def copied(prepared, tmp_path):
    """The same in a copy that a test may spoil."""
    base, folder, _, _ = prepared
    for name in ("model", "rows.jsonl", "early.yaml"):
        source = base / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, tmp_path / name)
    shutil.copytree(folder.root, tmp_path / "run")
    return tmp_path, TrialFolder(tmp_path / "run")


def test_an_arm_that_learns_nothing_is_dropped_and_neither_tuned_nor_sampled(prepared):
    _, folder, done, lines = prepared
    record = read_early(folder.early)
    assert done.failures == {}
    assert [row.arm for row in record.dropped] == ["still"] and record.undecided == ("full", "near")
    assert any(line.startswith("early: still is dropped after 1/8 of its rows") for line in lines)
    assert not folder.measured("still").exists() and not folder.samples("still").exists()
    assert folder.samples("base").exists() and all(folder.samples(arm).exists() for arm in record.left)
    assert sum(row.probability for row in record.dropped) <= RISK


def test_pilots_have_nested_rows_and_every_arm_the_same_ones(prepared):
    _, folder, _, _ = prepared
    pilots = {(arm, part): read_pilot(folder.pilot(arm, part=part)) for arm in ("full", "near") for part in (16, 8)}
    assert [pilots["full", part].rows for part in (16, 8)] == [4, 8]  # of 62
    assert pilots["full", 16].full_rows == 62
    rows = {key: [row.example_id for row in pilot.validation] for key, pilot in pilots.items()}
    assert len({tuple(ids) for ids in rows.values()}) == 1 and len(rows["full", 16]) == 8
    assert pilots["full", 8].tokens == pilots["near", 8].tokens > pilots["full", 16].tokens


def test_a_dropped_arm_has_no_pilot_on_a_larger_share(prepared):
    _, folder, _, _ = prepared
    assert folder.pilot("still", part=8).exists() and not folder.pilot("still", part=4).exists()


def test_run_again_nothing_is_made_again(prepared):
    base, folder, _, _ = prepared
    before = {p: p.stat().st_mtime_ns for p in (*folder.pilots.rglob("*.json"), folder.early)}
    _, lines = run(base, folder)
    assert {p: p.stat().st_mtime_ns for p in (*folder.pilots.rglob("*.json"), folder.early)} == before
    assert not any("pilot" in line and "validation loss" in line for line in lines)


@pytest.mark.long
def test_killed_among_its_pilots_a_run_goes_on_and_decides_the_same(prepared, tmp_path):
    base, folder, _, _ = prepared
    for name in ("rows.jsonl", "early.yaml"):
        shutil.copy2(base / name, tmp_path / name)
    shutil.copytree(base / "model", tmp_path / "model")
    killed = TrialFolder(tmp_path / "run")
    process = start(tmp_path, "run", "early.yaml", "--early", "--out", "run")

    def done():
        if not killed.manifest.exists():
            return []
        records = Manifest(killed.manifest).records
        return [name for step, record in records.items() if step.startswith("pilot:") for name in record.outputs]

    assert kill_when(lambda: len(done()) >= 2, process, seconds=240)
    before = {killed.root / name: (killed.root / name).stat().st_mtime_ns for name in done()}
    assert 2 <= len(before) < 8 and not killed.early.exists()
    run(tmp_path, killed)
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert killed.early.read_bytes() == folder.early.read_bytes()


def test_a_pilot_that_runs_elsewhere_leaves_the_same_record(copied):
    _, folder = copied
    context = TrialContext(load_trial(folder.root), folder, listener=Lines())
    step, path = PilotStep(context, "full", 16), folder.pilot("full", part=16)
    before = read_pilot(path)
    path.unlink()
    assert run_order(order_of(step, context=context, inputs=hashed_inputs(step)), place="elsewhere") is None
    assert read_pilot(path) == dataclasses.replace(before, seconds=read_pilot(path).seconds)


def test_sampling_alone_leaves_a_dropped_arm_out(copied):
    base, folder = copied
    context = TrialContext(load_trial(base / "early.yaml"), folder, listener=Lines())
    assert sample_trial(context) == {} and not folder.samples("still").exists()


def test_the_report_says_who_was_dropped_when_and_with_what_probability(prepared):
    _, folder, done, _ = prepared
    row = read_early(folder.early).dropped[0]
    page = done.report.markdown.read_text()
    assert "still was dropped" in page and "1/8" in page
    results = json.loads(done.report.results.read_text())
    assert results["early"]["record"]["dropped"][0] == {"arm": "still", "part": 8, "probability": row.probability}
    assert not any("still" in text and "not tuned yet" in text for text in results["unfinished"])
    assert results["arms"]["still"]["dropped_early"]["part"] == 8


def test_the_report_verifies(prepared):
    _, folder, _, _ = prepared
    found = verify(folder)
    assert found.mismatches == () and found.agreed["early decisions"] > 0


def test_the_decision_is_that_of_the_pilots_alone(prepared):
    _, folder, _, _ = prepared
    trial = load_trial(folder.root).trial
    assert early_findings(folder, trial).record() == read_early(folder.early)


def test_a_forged_pilot_is_found(copied):
    _, folder = copied
    path = folder.pilot("still", part=8)
    content = json.loads(path.read_text())
    for row in content["validation"]:
        row["nats"] *= 0.5
    path.write_text(json.dumps(content, indent=2) + "\n")
    named = [row.what for row in verify(folder).mismatches]
    assert any("pilots/still/1-in-8.json" in where for where in named)
    assert any(where.startswith("early.json") for where in named)


def test_a_forged_decision_is_found(copied):
    _, folder = copied
    content = json.loads(folder.early.read_text())
    content["dropped"][0]["arm"] = "near"
    folder.early.write_text(json.dumps(content, indent=2) + "\n")
    assert any(row.what.startswith("early.json") for row in verify(folder).mismatches)


def test_a_decision_that_was_taken_away_is_missed(copied):
    _, folder = copied
    folder.early.unlink()
    assert any("early.json" in row.what for row in verify(folder).mismatches)


def test_without_early_the_dropped_arm_is_tuned_too(copied):
    base, folder = copied
    done, _ = run(base, folder, early=False)
    assert done.failures == {} and folder.samples("still").exists() and folder.measured("still").exists()
    assert "still was dropped" in done.report.markdown.read_text()
    assert "tuned on all its rows later" in done.report.markdown.read_text()
    assert verify(folder).mismatches == ()


@pytest.mark.long
def test_pilots_of_other_settings_are_set_aside_with_their_decision(copied):
    base, folder = copied
    done, lines = run(base, folder, "training.weight_decay=0.01", early=False)
    assert not folder.early.exists() and not list(folder.pilots.rglob("*.json"))
    assert done.failures == {} and "dropped" not in done.report.markdown.read_text()
    assert verify(folder).mismatches == ()
    _, lines = run(base, folder, early=True)  # the old settings again: the pilots come back
    assert folder.early.exists() and not any("still, 1/16" in line and "validation loss" in line for line in lines)


def test_a_run_that_is_limited_to_some_arms_cannot_decide(copied):
    base, folder = copied
    with pytest.raises(UserError, match="limited to some"):
        run(base, folder, only=["base", "full"])


@pytest.mark.long
def test_too_few_steps_decide_nothing(tmp_path):
    make_base(tmp_path)
    (tmp_path / "early.yaml").write_text(EARLY.replace("batch_tokens: 64", "batch_tokens: 8192"))
    folder = TrialFolder(tmp_path / "run")
    _, lines = run(tmp_path, folder)
    assert any("nothing is decided" in line for line in lines) and not folder.early.exists()
    assert folder.samples("still").exists()
